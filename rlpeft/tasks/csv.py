"""Rows of a CSV file, or of a TSV file: a line of names, then a row a line, every value text.

`7` is the text "7" and an empty cell is empty text: a table says nothing of types, and a guess
would make `007` a number and `no` a truth value.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from rlpeft.errors import DataError
from rlpeft.regular import require_regular
from rlpeft.tasks.jsonl import Row, undecodable

SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""By the ending of the file's name."""

OTHERS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What tables are separated by that are no CSV."""


def read_csv(path: Path) -> list[Row]:
    """Read a table; its first line names the columns, blank lines are skipped.

    Raises:
        DataError: it cannot be read, is empty, or a row has not a value for each column.
    """
    rows = [*csv_rows(path)]
    if not rows:
        raise DataError(f"{str(path)!r} must hold at least one row below the names of its columns.")
    return rows


def csv_rows(path: Path) -> Iterator[Row]:
    """The rows, one at a time.

    Raises:
        DataError: as `read_csv`, but for a table without rows.
    """
    try:
        require_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _rows(file, path)
    except UnicodeDecodeError as error:
        raise DataError(undecodable(path, error)) from error
    except OSError as error:
        raise DataError(f"{str(path)!r} must be readable: {error.strerror}.") from error


def _rows(file: IO[str], path: Path) -> Iterator[Row]:
    separator = SEPARATORS[path.suffix.casefold()]
    lines = csv.reader(file, delimiter=separator, strict=True)
    names: Sequence[str] | None = None
    number, start = 0, 1  # a value in quotes may go over several lines
    try:
        for values in lines:
            if names is None:
                names = _checked_names(values, separator, path)
            elif values:
                number += 1
                yield _row(names, values, f"{str(path)!r} line {start} (row {number})")
            start = lines.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{str(path)!r} line {start} (row {number + 1}) must be CSV: {error}. Quotes stand "
            'around a whole value, and one within it is written twice: "say ""yes""".'
        ) from error


def _checked_names(names: Sequence[str], separator: str, path: Path) -> Sequence[str]:
    """The first line, if it can be names of columns."""
    where = f"{str(path)!r} line 1"
    other = next((o for o in OTHERS if len(names) == 1 and o != separator and o in names[0]), None)
    if other is not None:
        wanted = "tabs" if separator == "\t" else "commas"
        raise DataError(
            f"{where} must name columns separated by {wanted}, they seem to be separated by "
            f"{OTHERS[other]}: {names[0]!r:.80}. "
            + ("Name it FILE.tsv." if other == "\t" else "Save it with commas.")
        )
    for place, name in enumerate(names, start=1):
        if not name.strip():
            raise DataError(f"{where} must name every column, column {place} has no name.")
        if name in names[: place - 1]:
            raise DataError(f"{where} must name each column once, {name!r} stands there twice.")
    return names


def _row(names: Sequence[str], values: Sequence[str], where: str) -> Row:
    if len(values) != len(names):
        raise DataError(
            f"{where} must have a value for each of the {len(names)} columns, it has "
            f"{len(values)}: {values!r:.80}. A value with a comma or a line end in it stands in "
            "quotes."
        )
    return dict(zip(names, values, strict=True))
