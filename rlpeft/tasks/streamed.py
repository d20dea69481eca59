"""How a task that streams begins: its validation and test problems are taken apart, once.

They are the first rows: of the file of their split, or else of the train rows. To draw them from
all rows all would have to be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from rlpeft.errors import DataError
from rlpeft.tasks.base import ProblemSet, Split, Task
from rlpeft.tasks.builder import Asked
from rlpeft.tasks.jsonl import Row
from rlpeft.tasks.rows import CARVED, RowProblem, apart
from rlpeft.tasks.stream import RowPlace, RowSource, Stream
from rlpeft.types import Problem

ALL = 1_000
"""Rows read at a time of a split that is taken whole."""


def stream_task(
    asked: Asked,
    size: int,
    sources: Mapping[Split, RowSource],
    problem: RowProblem,
    *,
    made_of: Sequence[str] = (),
) -> Task:
    """Make a task of rows that are read a block at a time.

    Args:
        size: rows of a block.
        sources: where the rows of each split are read from.
        problem: see `rlpeft.tasks.rows.row_maker`.
        made_of: see `rlpeft.tasks.base.Task`.

    Raises:
        DataError: there are no train rows, or too few for validation and test, or one is wrong.
    """
    own: dict[Split, RowSource] = {s: rows for s, rows in sources.items() if s != "train"}
    train = sources.get("train")
    if asked.only in own:
        own, train = {asked.only: own[asked.only]}, None
    elif train is None:
        raise DataError(
            f"task {asked.path!r} must have train rows, which stream, it has {' and '.join(own)} "
            "alone. Name a source that has some, or remove task.streaming."
        )
    held = {split: _first(asked, split, rows, problem) for split, rows in own.items()}
    begin: tuple[RowPlace, int] = None, 0
    for split in CARVED:
        if train is not None and split not in held:
            held[split], begin = _carved(asked, split, train, begin, problem)
    kept = apart(held)
    left_out = {split: len(held.get(split, ())) - len(problems) for split, problems in kept.items()}
    name, source = asked.name, asked.path or ""
    task = ProblemSet(name, kept, left_out, made_of=made_of, source=source)
    return Stream(task, train, begin, size, partial(problem, "train")) if train else task


def _first(asked: Asked, split: Split, rows: RowSource, problem: RowProblem) -> list[Problem]:
    """The first rows of a split's own file, as many as are asked for."""
    count = asked.counts.get(split)
    found: list[Row] = []
    for block, _ in rows.blocks(None, count or ALL):
        found += block
        if count is not None:
            break
    return [problem(split, index, row) for index, row in enumerate(found)]


def _carved(
    asked: Asked, split: Split, rows: RowSource, begin: tuple[RowPlace, int], problem: RowProblem
) -> tuple[list[Problem], tuple[RowPlace, int]]:
    """The next of the train rows for a split without rows of its own, and what is behind them."""
    place, first = begin
    count = asked.counts.get(split)
    if count is None:
        raise DataError(
            f"task {asked.path!r}: task.num_{split} must be a number where the source has no "
            f"{split} rows, which are then the first of its train rows, got 'all'."
        )
    found, place = next(rows.blocks(place, count), ([], place))
    if len(found) < count:
        raise DataError(
            f"task {asked.path!r}: task.num_validation and task.num_test must leave train rows, "
            f"which they are the first of, there are {first + len(found)} in all. Lower them, or "
            "give a larger source."
        )
    made = [problem("train", index, row) for index, row in enumerate(found, first)]
    return made, (place, first + count)
