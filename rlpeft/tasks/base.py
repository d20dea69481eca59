"""What a task is: problems in three disjoint splits, and a digest of them.

Everything is decided at construction, so that a wrong file, a missing column or a split that
cannot be filled is an error before any model is loaded.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, Protocol, TypeVar, get_args

from rlpeft.errors import DataError
from rlpeft.types import Problem

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

T = TypeVar("T")

REMEMBERED = 64
"""Orders of epochs, of which a step needs one or two for each of its tasks."""


class Task(Protocol):
    """Problems to train on, to choose the best expert by, and to report on."""

    @property
    def name(self) -> str:
        """The name it was loaded by, as in `task.name`."""
        ...

    @property
    def called(self) -> str:
        """What texts call it: the path of its rows, whatever their format, or its name."""
        ...

    @property
    def made_of(self) -> Sequence[str]:
        """Columns of the user's rows that prompts are made of, and no gold answer may stand in."""
        ...

    @property
    def left_out(self) -> Mapping[Split, int]:
        """Problems of each split that went because a later split has their prompts."""
        ...

    @property
    def unasked(self) -> Mapping[Split, int]:
        """Problems that the source gives to a split beyond its `task.num_…`."""
        ...

    @property
    def num_train(self) -> int | None:
        """Train problems; `None` where they stream, and are not counted."""
        ...

    def split(self, split: Split) -> Sequence[Problem]:
        """Problems of one split, in a fixed order; no prompt stands in two splits.

        Of train problems that stream those that are read first.
        """
        ...

    def draw(self, turn: int, seed: int) -> Problem:
        """The training problem of one turn, in an endless sequence of shuffled epochs."""
        ...

    def epoch(self, turn: int) -> float:
        """How often its train problems were drawn before a turn."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 (hex) over every problem of every split."""
        ...


@dataclass(frozen=True)
class ProblemSet:
    """A task whose problems are all in memory.

    Args:
        name: the name it was loaded by.
        splits: problems by split; a split that is left out cannot be asked for.
        left_out: problems of each split that went because a later split has their prompts.
        made_of: columns that prompts are made of, and no gold answer may stand in.
        unasked: problems that the source gives to a split beyond its `task.num_…`.
        source: the path of its rows, if it is of rows.

    Raises:
        DataError: two problems share an id.
    """

    name: str
    splits: Mapping[Split, tuple[Problem, ...]]
    left_out: Mapping[Split, int] = field(default_factory=dict)
    made_of: Sequence[str] = ()
    unasked: Mapping[Split, int] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        ids = [problem.id for split in SPLITS for problem in self.splits.get(split, ())]
        if len(set(ids)) != len(ids):
            twice = next(name for name in ids if ids.count(name) > 1)
            raise DataError(
                f"task {self.called!r}: problem ids must be unique, {twice!r} occurs twice. "
                "Rename one of the rows."
            )

    @property
    def called(self) -> str:
        """What texts call it."""
        return self.source or self.name

    def split(self, split: Split) -> Sequence[Problem]:
        """Problems of one split."""
        problems = self.splits.get(split, ())
        if not problems and self.left_out.get(split):
            raise DataError(
                f"task {self.called!r}: every prompt of the {self.left_out[split]} {split} "
                "problems stands in a later split too. Have prompts tell rows apart: correct "
                "task.options.template, or remove rows that are there twice."
            )
        if not problems:
            raise DataError(
                f"task {self.called!r} has no {split} problems, it has {self._counted()}. Give "
                f"task.path a source with {split} rows: a folder with {split}.jsonl, or one file, "
                "which is divided into train, validation and test."
            )
        return problems

    @property
    def num_train(self) -> int:
        """How many train problems there are."""
        return len(self.split("train"))

    def draw(self, turn: int, seed: int) -> Problem:
        """The training problem of one turn."""
        problems = self.split("train")
        epoch, index = divmod(turn, len(problems))
        return problems[shuffled(len(problems), f"{seed}/{epoch}")[index]]

    def epoch(self, turn: int) -> float:
        """How often its train problems were drawn before a turn."""
        return turn / self.num_train

    def _counted(self) -> str:
        counts = [
            f"{len(self.splits[split])} {split}" for split in SPLITS if self.splits.get(split)
        ]
        return f"{' and '.join(counts)} problems" if counts else "none at all"

    def fingerprint(self) -> str:
        """SHA-256 (hex) over every problem of every split."""
        digest = hashlib.sha256()
        for split in SPLITS:
            for problem in self.splits.get(split, ()):
                digest.update(json.dumps([split, plain(problem)], sort_keys=True).encode())
        return digest.hexdigest()


def prompt_key(problem: Problem) -> str:
    """What tells whether two problems ask the same: SHA-256 (hex) of what is asked."""
    return hashlib.sha256(json.dumps(problem.asked, default=dict).encode()).hexdigest()


def plain(problem: Problem) -> list[object]:
    """All that a problem is, as JSON: what digests are of."""
    prompt = problem.prompt
    turns = prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt]
    columns = {key: repr(value) for key, value in problem.columns.items()}
    digests = [image.digest for image in problem.images]
    return [problem.id, turns, problem.answer, columns, *([digests] if digests else [])]


@lru_cache(maxsize=REMEMBERED)
def shuffled(size: int, seed: str) -> list[int]:
    """The numbers below `size` in the order of a seed."""
    return random.Random(seed).sample(range(size), size)


def repeats(problems: Sequence[Problem]) -> int:
    """How many have the prompt and the gold answer of one before them.

    >>> repeats([Problem(str(n), "3+4=", answer="7") for n in range(3)])
    2
    """
    return len(problems) - len({(repr(problem.asked), problem.answer) for problem in problems})


def counts(tasks: Sequence[Task]) -> dict[str, int]:
    """How many problems of each split some tasks have, and, where there are any, of all splits how
    many `repeat` the prompt and the gold of another and how many were `left out`.

    Train problems that stream are in no count.
    """
    known = [split for split in SPLITS if split != "train" or all(t.num_train for t in tasks)]
    found: dict[str, int] = {split: sum(len(t.split(split)) for t in tasks) for split in known}
    again = sum(repeats(task.split(split)) for task in tasks for split in known)
    gone = sum(sum(task.left_out.values()) for task in tasks)
    return found | {name: n for name, n in (("repeat", again), ("left out", gone)) if n}


def carve(rows: Sequence[T], count: int, *, seed: int) -> tuple[list[T], list[T]]:
    """Draw `count` rows by `seed`; give back the others and the drawn, both in source order.

    >>> carve("abc", 1, seed=0)
    (['a', 'c'], ['b'])
    """
    drawn = set(random.Random(seed).sample(range(len(rows)), count))
    return (
        [row for index, row in enumerate(rows) if index not in drawn],
        [row for index, row in enumerate(rows) if index in drawn],
    )
