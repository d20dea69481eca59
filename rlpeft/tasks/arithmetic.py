"""One-digit sums and products behind a few solved examples, as plain text.

Small real models know most of these and answer many wrongly: a reward has something to find.
The prompt is text for a base model; completions end at the line's end (`rollout.stop = ["\\n"]`).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from rlpeft.errors import DataError
from rlpeft.tasks.base import SPLITS, ProblemSet, Split
from rlpeft.types import Problem

OPERATIONS = {"+": lambda a, b: a + b, "*": lambda a, b: a * b}
Pair = tuple[int, int]


def arithmetic_task(
    *, operations: tuple[str, ...], num_shots: int, counts: dict[Split, int], seed: int
) -> ProblemSet:
    """Build the task. The splits share no pair of operands, in either order.

    Args:
        operations: of `+` and `*`; each problem uses one, its shots use the same one.
        num_shots: solved examples before the question, drawn from the train pairs.
        counts: problems of each split. Of the 55 pairs 27 are trained on, 8 validate, 20 test;
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
    pairs = list(itertools.combinations_with_replacement(range(10), 2))
    rng.shuffle(pairs)
    parts: dict[Split, list[Pair]] = {
        "train": pairs[28:],
        "validation": pairs[20:28],
        "test": pairs[:20],
    }
    splits: dict[Split, tuple[Problem, ...]] = {}
    for split in SPLITS:
        drawn = _draw(parts[split], parts["train"], operations, num_shots, rng)
        distinct = _distinct(drawn, counts[split], split)
        splits[split] = tuple(
            Problem(f"arithmetic/{split}/{index}", prompt, answer)
            for index, (prompt, answer) in enumerate(distinct.items())
        )
    return ProblemSet("arithmetic", splits)


def _draw(
    pairs: list[Pair],
    shot_pairs: list[Pair],
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


def _line(pair: Pair, sign: str, rng: random.Random) -> tuple[str, str]:
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
