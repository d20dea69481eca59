"""One-digit sums and products behind a few solved examples, as plain text.

Small real models know most of these and answer many wrongly: a reward has something to find.
The prompt is text for a base model; completions end at the line's end (`rollout.stop = ["\\n"]`).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from rlpeft.errors import DataError
from rlpeft.recipe.run import Section
from rlpeft.tasks.base import SPLITS, ProblemSet, Split
from rlpeft.tasks.builder import Asked, TaskBuilder
from rlpeft.types import Problem

OPERATIONS = {"+": lambda a, b: a + b, "*": lambda a, b: a * b}
Operands = tuple[int, int]


def arithmetic_task(
    *, operations: tuple[str, ...], num_shots: int, counts: dict[Split, int], seed: int
) -> ProblemSet:
    """Build the task. The splits share no pair of operands, in either order.

    Pairs are dealt out along the size of their product: half to train, a quarter each to
    validation and test, so that what chooses an expert is as hard as what judges it.

    Args:
        operations: of `+` and `*`; each problem uses one, its shots use the same one.
        num_shots: solved examples before the question, drawn from the train pairs.
        counts: problems of each split. Of the 55 pairs 27 are trained on, 14 validate, 14 test;
            a question comes back behind other shots, so its answers are not independent.
            A split of more distinct problems than exist is an error.

    Raises:
        DataError: an unknown operation, or a split that cannot be filled.
    """
    if not operations or not set(operations) <= OPERATIONS.keys():
        raise DataError(
            f"task.options.operations must be some of {[*OPERATIONS]}, got {list(operations)!r}."
        )
    rng = random.Random(seed)
    parts = _deal(rng)
    splits: dict[Split, tuple[Problem, ...]] = {}
    for split in SPLITS:
        drawn = _draw(parts[split], parts["train"], operations, num_shots, rng)
        distinct = _distinct(drawn, counts[split], split)
        splits[split] = tuple(
            Problem(f"arithmetic/{split}/{index}", prompt, answer)
            for index, (prompt, answer) in enumerate(distinct.items())
        )
    return ProblemSet("arithmetic", splits)


def _deal(rng: random.Random) -> dict[Split, list[Operands]]:
    """All pairs of digits: of each four of like products two train, one validates, one tests."""
    pairs = list(itertools.combinations_with_replacement(range(10), 2))
    rng.shuffle(pairs)
    pairs.sort(key=lambda pair: pair[0] * pair[1])  # equals stay shuffled
    parts: dict[Split, list[Operands]] = {split: [] for split in SPLITS}
    hands: tuple[Split, ...] = ("validation", "test", "train", "train")
    for start in range(0, len(pairs), len(hands)):
        dealt = pairs[start : start + len(hands)]
        for pair, split in zip(rng.sample(dealt, len(dealt)), hands, strict=False):
            parts[split].append(pair)
    return parts


def _draw(
    pairs: list[Operands],
    shot_pairs: list[Operands],
    operations: tuple[str, ...],
    num_shots: int,
    rng: random.Random,
) -> Iterator[tuple[str, str]]:
    while True:
        sign = rng.choice(operations)
        asked = rng.choice(pairs)
        shots = rng.sample([pair for pair in shot_pairs if pair != asked], num_shots)
        lines = [_line(pair, sign, rng) for pair in shots]
        question, answer = _line(asked, sign, rng)
        yield "".join(f"{text} {gold}\n" for text, gold in lines) + question, answer


def _line(pair: Operands, sign: str, rng: random.Random) -> tuple[str, str]:
    a, b = rng.sample(pair, 2)
    return f"{a} {sign} {b} =", str(OPERATIONS[sign](a, b))


def _distinct(drawn: Iterator[tuple[str, str]], count: int, split: Split) -> dict[str, str]:
    found: dict[str, str] = {}
    for prompt, answer in itertools.islice(drawn, 20 * count):
        found[prompt] = answer
        if len(found) == count:
            return found
    raise DataError(
        f"task 'arithmetic' must hold {count} distinct {split} problems, it has about "
        f"{len(found)}. Ask for fewer, or raise task.options.num_shots."
    )


class ArithmeticOptions(Section):
    """Options of `arithmetic`."""

    operations: tuple[str, ...] = ("+", "*")
    """Of `+` and `*`."""
    num_shots: Annotated[int, Field(ge=0, le=16)] = 3
    """Solved examples before the question."""
    num_train: Annotated[int, Field(ge=1)] = 2000
    """Train problems."""
    seed: int = 0
    """Decides pairs, shots and order."""


def _build(asked: Asked, options: ArithmeticOptions) -> ProblemSet:
    return arithmetic_task(
        operations=options.operations,
        num_shots=options.num_shots,
        counts={"train": options.num_train, **asked.counts},
        seed=options.seed,
    )


ARITHMETIC = TaskBuilder(ArithmeticOptions, _build, reads_path=False)
