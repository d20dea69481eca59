"""Products of two factors of two digits: what the base model `tiny-tools` gets wrong by itself.

Its corpus answers `37*48=` in two ways. One is a guess, of which only the first digits are right.
The other is a call, `<calc>37*48</calc>`, and the result that follows is copied. So it knows how
to use a calculator and does so about half of the time; reinforcement learning has to find that
asking pays. A problem is one of the digit strings of the tiny skills, with a sign between.
"""

from __future__ import annotations

from rlpeft.recipe.run import Section
from rlpeft.tasks.base import ProblemSet, Split
from rlpeft.tasks.builder import Asked, TaskBuilder
from rlpeft.tasks.tiny import deal
from rlpeft.types import Problem, Prompt


def sum_of(digits: str) -> str:
    """What is asked for of four digits.

    >>> sum_of("3748")
    '37*48'
    """
    return f"{digits[:2]}*{digits[2:]}"


def product(digits: str) -> int:
    """What it comes to."""
    return int(digits[:2]) * int(digits[2:])


def product_task(
    *, num_validation: int, num_test: int, chat: bool = True, seed: int = 0
) -> ProblemSet:
    """Build `product`.

    Args:
        chat: give the problem as a user turn, not as plain text.
        seed: order of the problems, and which held-out strings become validation and test.

    Raises:
        DataError: more validation and test problems than are held out.
    """
    dealt = deal("product", num_validation=num_validation, num_test=num_test, seed=seed)
    splits: dict[Split, tuple[Problem, ...]] = {
        split: tuple(_problem(digits, chat=chat) for digits in strings)
        for split, strings in dealt.items()
    }
    return ProblemSet("product", splits)


def _problem(digits: str, *, chat: bool) -> Problem:
    text = f"{sum_of(digits)}="
    prompt: Prompt = ({"role": "user", "content": text},) if chat else text
    return Problem(f"product/{digits}", prompt, str(product(digits)))


class ProductOptions(Section):
    """Options of `product`."""

    chat: bool = True
    """Give the problem as a user turn, not as plain text."""
    seed: int = 0
    """Order of the problems, and which of them are validation and test."""


def _build(asked: Asked, options: ProductOptions) -> ProblemSet:
    return product_task(
        num_validation=asked.counts["validation"],
        num_test=asked.counts["test"],
        chat=options.chat,
        seed=options.seed,
    )


PRODUCT = TaskBuilder(ProductOptions, _build, reads_path=False)
