"""A task whose train rows are read while training goes on: memory need not hold them.

Rows come in blocks of a stated size, in the order of their source, epoch after epoch; those of a
block are shuffled by seed, epoch and block. So which problem is drawn follows from the position
alone, as where all are in memory, and a run that goes on draws what it would have drawn. (A buffer
that is refilled row by row mixes more, and what it held is lost with the process.)

What was read is pinned: each block has a digest, and one that is read again must be as it was. Rows
behind it are read when it is their turn, and may be mended until then.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from threading import RLock
from typing import Any, NamedTuple, Protocol

from rlpeft.errors import DataError
from rlpeft.tasks.base import SPLITS, ProblemSet, Split, plain, prompt_key, shuffled
from rlpeft.tasks.jsonl import Row
from rlpeft.terminal import note
from rlpeft.types import Problem

RowPlace = Any
"""Where in a source a row stands, as JSON; `None` at its beginning."""

TellBlock = Callable[[int, Sequence[Problem]], None]
"""Is told the number of a block and its problems."""

HELD = 2
"""Blocks in memory, beside the one that is being read."""

DIGEST_BYTES = 16
"""Of a block."""


class RowSource(Protocol):
    """Rows in a fixed order, which may be read from any block on."""

    def blocks(self, place: RowPlace, size: int) -> Iterator[tuple[list[Row], RowPlace]]:
        """Rows from a place on, `size` at a time (the last ones may be fewer), each with the place
        behind them."""
        ...


class Block(NamedTuple):
    """What is known of a block that was read.

    Attributes:
        size: its problems that may be trained on.
        digest: of these, BLAKE2 (hex).
        end: the place behind it.
    """

    size: int
    digest: str
    end: RowPlace


class Stream:
    """A task whose train problems are read as they are drawn.

    Args:
        held: its other splits.
        rows: the source of its train rows.
        begin: the place of the first row that is no problem of another split, and its index.
        size: rows of a block.
        problem: makes a train problem of a row and its index.
    """

    def __init__(
        self,
        held: ProblemSet,
        rows: RowSource,
        begin: tuple[RowPlace, int],
        size: int,
        problem: Callable[[int, Row], Problem],
    ) -> None:
        self.held, self.size = held, size
        self._rows, self._begin, self._problem = rows, begin, problem
        self._kept_out = {prompt_key(p) for s in SPLITS[1:] for p in held.splits.get(s, ())}
        self._blocks: list[Block] = []
        self._is_whole = False  # whether `_blocks` are all there are
        self._told: list[TellBlock] = []
        self._reader: Iterator[tuple[list[Row], RowPlace]] = iter(())
        self._next = -1  # the block that the reader is at
        self._held_now: dict[int, list[Problem]] = {}  # by block
        self._lock = RLock()  # rollouts that are ahead draw in a thread of their own

    @property
    def name(self) -> str:
        """The name it was loaded by."""
        return self.held.name

    @property
    def called(self) -> str:
        """What texts call it."""
        return self.held.called

    @property
    def made_of(self) -> Sequence[str]:
        """Columns that prompts are made of."""
        return self.held.made_of

    @property
    def left_out(self) -> Mapping[Split, int]:
        """Of validation and test: of train rows it is said after the first epoch."""
        return self.held.left_out

    @property
    def unasked(self) -> Mapping[Split, int]:
        """None that are known of: files are read no further than asked."""
        return {}

    @property
    def num_train(self) -> None:
        """Not counted."""
        return None

    def split(self, split: Split) -> Sequence[Problem]:
        """Problems of one split; of train those of the first block."""
        if split != "train":
            return self.held.split(split)
        with self._lock:
            return self._problems_of(self._find(0)[1])

    def fingerprint(self) -> str:
        """SHA-256 (hex) over the problems of validation and test: see `state` of the others."""
        return self.held.fingerprint()

    def keep_out(self, problems: Iterable[Problem]) -> None:
        """Have none be drawn that asks what one of these asks."""
        assert not self._blocks, "blocks are read with what is kept out of them"
        self._kept_out |= {prompt_key(problem) for problem in problems}

    def watch(self, told: TellBlock) -> None:
        """Have each block that is read from now on, and was not before, told before it is drawn
        from; an error that is raised then stops the run."""
        self._told.append(told)

    def with_train(self, problems: Sequence[Problem]) -> ProblemSet:
        """The task as if these were all its train problems."""
        splits = {**self.held.splits, "train": tuple(problems)}
        return ProblemSet(self.name, splits, made_of=self.made_of, source=self.held.source)

    def draw(self, turn: int, seed: int) -> Problem:
        """The training problem of one turn.

        Raises:
            DataError: a row is wrong, or differs from what it was when it was read before.
        """
        with self._lock:
            epoch, block, index = self._find(turn)
            problems = self._problems_of(block)
            return problems[shuffled(len(problems), f"{seed}/{epoch}/{block}")[index]]

    def epoch(self, turn: int) -> float:
        """How often all rows were drawn before a turn: a whole number, and 0 before they are
        counted, which is when one is drawn again."""
        total = sum(block.size for block in self._blocks)
        return float((turn - 1) // total) if self._is_whole and turn else 0.0

    def state(self, turn: int) -> dict[str, Any]:
        """What was read for the turns before one, for `resume`."""
        starts = [0, *accumulate(block.size for block in self._blocks)]
        is_whole = self._is_whole and turn > starts[-1]
        known = [block for block, start in zip(self._blocks, starts, strict=False) if start < turn]
        return {"blocks": [[*block] for block in known], "is_whole": is_whole}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on behind what was read: it need not be read again to know how much it was."""
        with self._lock:
            first = self._blocks[:1]
            self._blocks = [Block(*block) for block in state["blocks"]]
            self._is_whole = state["is_whole"]
            if first and self._blocks:  # what was looked at before the run began
                self._require_same(0, first[0])
            self._blocks = self._blocks or first

    def _find(self, turn: int) -> tuple[int, int, int]:
        """Epoch and block of a turn, and the turn's number within the block."""
        while True:
            ends = [*accumulate(block.size for block in self._blocks)]
            if ends and (turn < ends[-1] or self._is_whole):
                epoch, rest = divmod(turn, ends[-1]) if self._is_whole else (0, turn)
                at = bisect_right(ends, rest)
                return epoch, at, rest - (ends[at] - self._blocks[at].size)
            self._read_on()

    def _read_on(self) -> None:
        """Read the next block that was not read before, or learn that there is none."""
        at = len(self._blocks)
        found = self._read(at)
        if found is None:
            if not any(block.size for block in self._blocks):
                raise DataError(
                    f"{self.called!r} must have train rows behind those that are its validation "
                    "and test problems, it has none with another prompt. Give a larger source, or "
                    "lower task.num_validation and task.num_test."
                )
            self._is_whole = True
            self._say_whole()
            return
        problems, block = found
        for told in self._told:
            told(at, problems)
        self._blocks.append(block)
        self._hold(at, problems)

    def _say_whole(self) -> None:
        size = sum(block.size for block in self._blocks)
        note(
            f"all {size:,} train rows of {self.called!r} were drawn once, and are drawn again; "
            "rows with a prompt of a validation or test problem are in none of them."
        )

    def _problems_of(self, at: int) -> list[Problem]:
        if at not in self._held_now:
            found = self._read(at)
            problems, block = found if found is not None else ([], Block(0, "", None))
            self._require_same(at, block)
            self._hold(at, problems)
        return self._held_now[at]

    def _hold(self, at: int, problems: list[Problem]) -> None:
        """Keep a block, and one from before: a step may stand in two."""
        self._held_now[at] = problems
        for old in [*self._held_now][:-HELD]:
            del self._held_now[old]

    def _require_same(self, at: int, block: Block) -> None:
        if block.digest != self._blocks[at].digest:
            first = self._begin[1] + at * self.size
            raise DataError(
                f"{self.called!r} must hold the rows that were drawn from it, of rows "
                f"{first + 1:,} to {first + self.size:,} some have changed. Restore them; those "
                "behind what was read may change."
            )

    def _read(self, at: int) -> tuple[list[Problem], Block] | None:
        """The problems of a block that may be trained on, and what is known of it then."""
        if at != self._next:
            place = self._blocks[at - 1].end if at else self._begin[0]
            self._reader = self._rows.blocks(place, self.size)
        self._next = -1  # a reader that has raised gives no more
        found = next(self._reader, None)
        if found is None:
            return None
        self._next = at + 1
        rows, end = found
        first = self._begin[1] + at * self.size
        made = [self._problem(index, row) for index, row in enumerate(rows, first)]
        problems = [problem for problem in made if prompt_key(problem) not in self._kept_out]
        return problems, Block(len(problems), _digest(problems), end)


def _digest(problems: Sequence[Problem]) -> str:
    found = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for problem in problems:
        found.update(json.dumps(plain(problem), sort_keys=True).encode())
    return found.hexdigest()
