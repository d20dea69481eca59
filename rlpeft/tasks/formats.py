"""Rows of a file, read as its ending says: JSONL, CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rlpeft.tasks.csv import csv_rows, read_csv
from rlpeft.tasks.jsonl import Row, numbered_rows, read_jsonl
from rlpeft.tasks.parquet import parquet_rows, read_parquet


class FileFormat(NamedTuple):
    """How a kind of file is read.

    Attributes:
        read: all of its rows.
        after: the rows behind the first so many, one at a time.
    """

    read: Callable[[Path], list[Row]]
    after: Callable[[Path, int], Iterator[Row]]


JSONL = FileFormat(
    read_jsonl, lambda path, skip: (row for _, row in numbered_rows(path, skip=skip))
)
CSV = FileFormat(read_csv, lambda path, skip: islice(csv_rows(path), skip, None))
PARQUET = FileFormat(read_parquet, lambda path, skip: parquet_rows(path, skip=skip))

FORMATS = {".jsonl": JSONL, ".jsonl.gz": JSONL, ".csv": CSV, ".tsv": CSV, ".parquet": PARQUET}
"""How a file is read, by the ending of its name."""

ENDINGS = (*FORMATS,)


def read_rows(path: Path, *, any_text: bool = False) -> list[Row]:
    """The rows of a file; one of an unknown ending is taken for JSONL.

    Args:
        any_text: see `read_jsonl`.

    Raises:
        DataError: it cannot be read, is empty, or a row of it is wrong: names file and row.
    """
    found = _format(path)
    return read_jsonl(path, any_text=any_text) if found is JSONL else found.read(path)


def rows_after(path: Path, skip: int) -> Iterator[Row]:
    """The rows behind the first `skip`, one at a time; none of a file that has no more.

    Raises:
        DataError: as `read_rows`, when it comes to the row.
    """
    return _format(path).after(path, skip)


def _format(path: Path) -> FileFormat:
    name = path.name.casefold()
    return next((known for ending, known in FORMATS.items() if name.endswith(ending)), JSONL)
