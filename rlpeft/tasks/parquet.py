"""Rows of a Parquet file: lists and structs as lists and dicts, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlpeft.errors import DataError
from rlpeft.regular import require_regular
from rlpeft.tasks.jsonl import Row

MOST_BYTES = 4 * 2**30
"""Of all rows, unpacked: a file of a few kilobytes may hold terabytes of one repeated value."""

BATCH = 64
"""Rows unpacked at once."""


def read_parquet(path: Path, *, most_bytes: int = MOST_BYTES) -> list[Row]:
    """Read a file of rows.

    Args:
        most_bytes: of all rows, as Arrow holds them.

    Raises:
        DataError: it cannot be read, is empty, holds more than that, or has two columns of one
            name.
    """
    rows = [*parquet_rows(path, most_bytes=most_bytes)]
    if not rows:
        raise DataError(f"{str(path)!r} must hold at least one row, it is empty.")
    return rows


def parquet_rows(path: Path, *, skip: int = 0, most_bytes: int | None = None) -> Iterator[Row]:
    """The rows, a few unpacked at a time.

    Args:
        skip: rows at the beginning that are passed over; whole groups of them are not read.
        most_bytes: of all rows, as Arrow holds them; absent: `MOST_BYTES` of those held at once.

    Raises:
        DataError: as `read_parquet`, but for a file without rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    done = num_bytes = 0
    try:
        require_regular(path)
        with pq.ParquetFile(path) as file:
            _check_names(file.schema_arrow.names, path)
            done, groups = _groups_after(file, skip)
            # Of no groups at all Arrow reads every one.
            for batch in file.iter_batches(batch_size=BATCH, row_groups=groups) if groups else ():
                num_bytes = batch.nbytes + (num_bytes if most_bytes else 0)
                _require_few(num_bytes, most_bytes or MOST_BYTES, path, done)
                yield from batch.slice(max(0, skip - done)).to_pylist()
                done += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise DataError(
            f"{str(path)!r} must be a Parquet file, reading stopped after row {done}: "
            f"{said:.200}. Fetch or write it again."
        ) from error


def _groups_after(file: Any, skip: int) -> tuple[int, list[int]]:
    """Rows in the first groups that are passed over whole, and the numbers of the other groups."""
    done = 0
    for first in range(file.num_row_groups):
        size = file.metadata.row_group(first).num_rows
        if done + size > skip:
            return done, [*range(first, file.num_row_groups)]
        done += size
    return done, []


def _require_few(num_bytes: int, most_bytes: int, path: Path, done: int) -> None:
    if num_bytes > most_bytes:
        raise DataError(
            f"{str(path)!r} must hold at most {most_bytes:,} bytes of rows, unpacked, it has more "
            f"after row {done}. Keep the columns that the task and its reward read, or fewer rows."
        )


def _check_names(names: list[str], path: Path) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"{str(path)!r} must name each column once, {name!r} stands there twice."
            )
