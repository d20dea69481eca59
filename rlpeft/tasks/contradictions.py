"""Problems that ask the same and want different answers: no policy can be right on both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from rewards.golds import GoldRule, gold_in, is_missing
from rewards.registry import REWARDS, runs_programs
from rewards.verify import verify
from rlpeft.tasks.base import Split, Task
from rlpeft.tasks.golds import COLUMN, gold_of, row_of
from rlpeft.types import Problem

Wanted = tuple[Problem, str]
"""A problem, and the answer that is right for it."""

Differ = Callable[[str, str], bool]
"""Whether no answer is right by both of two gold answers."""

MOST_COMPARED = 1000
"""Pairs of different texts that a reward is asked about, which takes up to a tenth of a second
each; beyond them texts that differ count for different answers."""


def contradictions(
    problems: Sequence[Problem], rules: Sequence[GoldRule], columns: Iterable[str]
) -> list[tuple[Wanted, Wanted]]:
    """Problems that want another answer than the first of their prompt, each with that one.

    A list holds several right answers, and tests of a program do not rule out others: they
    contradict nothing.

    Args:
        rules, columns: what the rewards' gold answers may be, and the columns they need.
    """
    golds = [gold_of(problem) for problem in problems]
    tests = {rule.column for rule in rules if runs_programs(rule.reward)}
    read = {rule.column for rule in rules} | {
        name  # rewards of one's own read gold answers by the name of their column
        for name in columns
        if name == COLUMN or [problem.columns.get(name) for problem in problems] == golds
    }
    found: dict[str, tuple[Wanted, Wanted]] = {}
    for column in sorted(read - tests):
        judges = {rule.reward for rule in rules if rule.column == column}
        found |= _of_column(problems, column, _differ(judges))
    return [*found.values()]


def _differ(rewards: Iterable[str]) -> Differ:
    """By rewards that compare answers: 1/2 and 0.5 are one to `math`, and two to `exact`."""
    judges = [name for name in rewards if name in REWARDS and REWARDS[name].compares_answers]
    known: dict[tuple[str, str], bool] = {}

    def differ(one: str, other: str) -> bool:
        if one == other:
            return False
        if (pair := (one, other)) not in known:
            if not judges or len(known) == MOST_COMPARED:
                return True
            known[pair] = not all(_is_right(name, one, other) for name in judges)
        return known[pair]

    return differ


def _is_right(reward: str, one: str, other: str) -> bool:
    """Whether one of two gold answers is a right answer where the other is gold."""
    form = REWARDS[reward].form
    pairs = ((one, other), (other, one))
    return any(verify(form.format(said), gold, kind=reward).score == 1 for said, gold in pairs)


def _of_column(
    problems: Sequence[Problem], column: str, differ: Differ
) -> Iterator[tuple[str, tuple[Wanted, Wanted]]]:
    """By the id of the later one."""
    first: dict[str, Wanted] = {}
    for problem in problems:
        gold = _gold(problem, column)
        if is_missing(gold) or not isinstance(gold, str | int | float):
            continue
        this = problem, str(gold)
        before = first.setdefault(repr(problem.asked), this)
        if differ(before[1], this[1]):
            yield problem.id, (before, this)


def _gold(problem: Problem, column: str) -> object:
    try:
        return gold_in({**problem.columns, COLUMN: gold_of(problem)}, column)
    except KeyError:
        return None


def said_of_contradictions(
    task: Task, splits: Sequence[Split], rules: Sequence[GoldRule], columns: Iterable[str]
) -> str:
    """How many there are in each split, and the first; empty if there are none."""
    found = {split: contradictions(task.split(split), rules, columns) for split in splits}
    every = [pair for pairs in found.values() for pair in pairs]
    if not every:
        return ""
    (one, wanted), (other, other_wanted) = every[0]
    each = " and ".join(f"{len(pairs):,} {split}" for split, pairs in found.items() if pairs)
    return (
        f"{each} problems ask what another asks and want another answer: {row_of(one)} and "
        f"{row_of(other)} ask {_asked(one)!r:.60} and want {wanted!r:.40} and {other_wanted!r:.40}"
    )


def _asked(problem: Problem) -> str:
    prompt = problem.prompt
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
