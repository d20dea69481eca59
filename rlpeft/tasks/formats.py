"""Rows of a file, read as its ending says: JSONL, CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from rlpeft.tasks.csv import csv_rows, read_csv
from rlpeft.tasks.jsonl import Row, numbered_rows, read_jsonl
from rlpeft.tasks.parquet import parquet_rows, read_parquet

READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}
"""What reads a file, by the ending of its name."""

ENDINGS = (*READERS,)


def read_rows(path: Path, *, any_text: bool = False) -> list[Row]:
    """The rows of a file; one of an unknown ending is taken for JSONL.

    Args:
        any_text: see `read_jsonl`.

    Raises:
        DataError: it cannot be read, is empty, or a row of it is wrong: names file and row.
    """
    read = READERS[_ending(path)]
    return read_jsonl(path, any_text=any_text) if read is read_jsonl else read(path)


def rows_after(path: Path, skip: int) -> Iterator[Row]:
    """The rows behind the first `skip`, one at a time; none of a file that has no more.

    Raises:
        DataError: as `read_rows`, when it comes to the row.
    """
    read = READERS[_ending(path)]
    if read is read_parquet:
        return parquet_rows(path, skip=skip)
    if read is read_csv:
        return islice(csv_rows(path), skip, None)
    return (row for _, row in numbered_rows(path, skip=skip))


def _ending(path: Path) -> str:
    return next((known for known in READERS if path.name.casefold().endswith(known)), ".jsonl")
