"""Rows of a file, read as its ending says: JSONL, CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rlpeft.tasks.csv import read_csv
from rlpeft.tasks.jsonl import Row, read_jsonl
from rlpeft.tasks.parquet import read_parquet

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
    ending = next((known for known in READERS if path.name.casefold().endswith(known)), ".jsonl")
    read = READERS[ending]
    return read_jsonl(path, any_text=any_text) if read is read_jsonl else read(path)
