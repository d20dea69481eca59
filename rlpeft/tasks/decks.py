"""Where the problems of a run come from: its one task, or several by their weights.

A deck is a task that is drawn from. Whose turn it is follows from the position alone, so a run that
goes on draws what it would have drawn. The share of each task keeps within a few problems of its
weight at any time; independent draws would miss it by 14 in 1,000.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from typing import Any

from rlpeft.errors import DataError
from rlpeft.tasks.base import SPLITS, Split, Task
from rlpeft.tasks.stream import Stream
from rlpeft.types import Problem

MOST_SHARED = 0.01
"""Share of a split's prompts that another task may train on: public sets repeat some of each other,
and no figure moves by more than that."""


@dataclass(frozen=True)
class Deck:
    """A task that problems are drawn from.

    Attributes:
        label: of the task in a recipe of several; ids of its problems begin with it.
        weight: its share is this, divided by the sum of all.
        max_tokens: new tokens of an answer at most, where they are fewer than the recipe's.
    """

    task: Task
    label: str = ""
    weight: float = 1.0
    max_tokens: int | None = None

    def split(self, split: Split) -> list[Problem]:
        """Problems of one split, in their order."""
        return [self._own(problem) for problem in self.task.split(split)]

    def draw(self, turn: int, seed: int) -> Problem:
        """The training problem of one turn, in an endless sequence of shuffled epochs."""
        return self._own(self.task.draw(turn, seed))

    def _own(self, problem: Problem) -> Problem:
        if not self.label:
            return problem
        name = f"{self.label}/{problem.id}"
        return replace(problem, id=name, task=self.label, max_tokens=self.max_tokens)


def decks_of(
    tasks: Mapping[str, Task], weights: Mapping[str, float], limits: Mapping[str, int]
) -> list[Deck]:
    """The decks of a recipe, by the labels of its tasks: see `Recipe.weights`, `Recipe.limits`."""
    return [Deck(task, label, weights[label], limits.get(label)) for label, task in tasks.items()]


def problems_of(decks: Sequence[Deck], split: Split) -> list[Problem]:
    """All problems of one split, deck after deck."""
    return [problem for deck in decks for problem in deck.split(split)]


def require_apart(decks: Sequence[Deck]) -> None:
    """Refuse several tasks of which one is measured by prompts that another one is trained on.

    One that streams passes over the rows with such prompts instead.

    Raises:
        DataError: more than a few of its validation or test prompts are so.
    """
    if len(decks) == 1:  # no prompt stands in two splits of a task
        return
    _keep_apart(decks)
    known = [deck for deck in decks if deck.task.num_train is not None]
    trained = {deck.label: {repr(p.asked) for p in deck.task.split("train")} for deck in known}
    for deck in decks:
        others = set[str]().union(*(own for label, own in trained.items() if label != deck.label))
        for split in SPLITS[1:]:
            problems = deck.task.split(split)
            seen = [problem for problem in problems if repr(problem.asked) in others]
            if len(seen) > MOST_SHARED * len(problems):
                raise DataError(
                    f"{len(seen)} of the {len(problems)} {split} prompts of task {deck.label!r} "
                    f"are trained on in another task, such as {seen[0].prompt!r:.60}: what an "
                    "expert is worth on others cannot be told by them. Drop those rows of one "
                    "task, or give the tasks different prompts (task.options.template); rows that "
                    "tasks share are divided alike by the same num_validation, num_test and "
                    "options, or by a folder with a file for each split."
                )


def require_drawn(decks: Sequence[Deck], count: int, seed: int) -> None:
    """Refuse a task that a run has the weight of, and no problem.

    Args:
        count: problems that the run draws in all.

    Raises:
        DataError: says how rarely it is drawn.
    """
    whole = sum(Fraction(deck.weight) for deck in decks)
    for deck, turns in zip(decks, _turns(decks, count, seed), strict=True):
        if not turns:
            raise DataError(
                f"each [[task]] must be drawn once at least, {deck.label!r} is not in a run of "
                f"{count:,} problems (train.steps x train.prompts_per_step): its weight of "
                f"{deck.weight:g} gives it one in {_rounded(whole / Fraction(deck.weight))}. Raise "
                "its weight, or train.steps."
            )


def _rounded(number: Fraction) -> str:
    """A number that no float may hold."""
    digits = str(round(number))
    return f"{round(number):,}" if len(digits) < 10 else f"10^{len(digits) - 1}"


def told_shared(decks: Sequence[Deck]) -> str:
    """What to know of a total over tasks that ask the same prompts; empty where none do."""
    found = []
    for split in SPLITS[1:]:
        asked = Counter(
            prompt for deck in decks for prompt in {repr(p.asked) for p in deck.split(split)}
        )
        if several := sum(count > 1 for count in asked.values()):
            found.append(f"{several} {split}")
    if not found:
        return ""
    return (
        f"{' and '.join(found)} prompts stand in several tasks: the interval of the total takes "
        "each of their problems for one of its own, and may be too narrow. Those of each task hold"
    )


def draw(decks: Sequence[Deck], cursor: int, count: int, seed: int) -> list[Problem]:
    """Training problems `cursor` to `cursor + count` of the endless sequence of a run."""
    turns = (_turn(decks, position, seed) for position in range(cursor, cursor + count))
    return [decks[at].draw(turn, seed) for at, turn in turns]


def epochs(decks: Sequence[Deck], cursor: int, seed: int) -> dict[str, float]:
    """How often the problems of each deck were drawn, by label, after `cursor` draws in all."""
    turns = zip(decks, _turns(decks, cursor, seed), strict=True)
    return {deck.label: deck.task.epoch(turn) for deck, turn in turns}


def _keep_apart(decks: Sequence[Deck]) -> None:
    """Have no task that streams train on a prompt that another one is measured by."""
    for deck in decks:
        if isinstance(deck.task, Stream):
            others = [other for other in decks if other is not deck]
            deck.task.keep_out(p for other in others for p in _measured(other.task))


def _measured(task: Task) -> list[Problem]:
    return [problem for split in SPLITS[1:] for problem in task.split(split)]


def stream_states(decks: Sequence[Deck], cursor: int, seed: int) -> dict[str, Any]:
    """What was read of the decks that stream, by label, after `cursor` draws in all."""
    turns = zip(decks, _turns(decks, cursor, seed), strict=True)
    return {
        deck.label: deck.task.state(turn) for deck, turn in turns if isinstance(deck.task, Stream)
    }


def resume_streams(decks: Sequence[Deck], states: Mapping[str, Any]) -> None:
    """Have the decks that stream go on behind what was read: see `stream_states`."""
    for deck in decks:
        if isinstance(deck.task, Stream):
            deck.task.resume(states[deck.label])


def _turn(decks: Sequence[Deck], position: int, seed: int) -> tuple[int, int]:
    """Which deck is drawn from at a position, and how often it was before."""
    before, after = _turns(decks, position, seed), _turns(decks, position + 1, seed)
    at = next(at for at, turn in enumerate(before) if after[at] > turn)
    return at, before[at]


def _turns(decks: Sequence[Deck], position: int, seed: int) -> list[int]:
    """How often each deck was drawn from before a position.

    Systematic sampling (Madow 1949), deck by deck among the turns that those before it left: of n
    turns it takes floor(n * share + start), with a start in [0, 1) that is drawn once.
    """
    turns: list[int] = []
    # Fractions: no rounding may lose a turn or give it twice.
    rest = sum(Fraction(deck.weight) for deck in decks)
    for deck in decks[:-1]:
        share = Fraction(deck.weight) / rest
        turns.append(floor(position * share + _start(seed, len(turns))))
        position, rest = position - turns[-1], rest - Fraction(deck.weight)
    return [*turns, position]


def _start(seed: int, at: int) -> Fraction:
    return Fraction(random.Random(f"{seed}/deck/{at}").random())


def fingerprints(decks: Sequence[Deck]) -> str | dict[str, str]:
    """SHA-256 (hex) over the problems of a run; of several tasks by label."""
    by_label = {deck.label: deck.task.fingerprint() for deck in decks}
    return by_label.get("", by_label)
