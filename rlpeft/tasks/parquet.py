"""Rows of a Parquet file: lists and structs as lists and dicts, in bounded memory."""

from __future__ import annotations

from pathlib import Path

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
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[Row] = []
    num_bytes = 0
    try:
        require_regular(path)
        with pq.ParquetFile(path) as file:
            _check_names(file.schema_arrow.names, path)
            for batch in file.iter_batches(batch_size=BATCH):
                num_bytes += batch.nbytes
                if num_bytes > most_bytes:
                    raise DataError(
                        f"{str(path)!r} must hold at most {most_bytes:,} bytes of rows, unpacked, "
                        f"it has more after row {len(rows)}. Keep the columns that the task and "
                        "its reward read, or fewer rows."
                    )
                rows += batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise DataError(
            f"{str(path)!r} must be a Parquet file, reading stopped after row {len(rows)}: "
            f"{said:.200}. Fetch or write it again."
        ) from error
    if not rows:
        raise DataError(f"{str(path)!r} must hold at least one row, it is empty.")
    return rows


def _check_names(names: list[str], path: Path) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"{str(path)!r} must name each column once, {name!r} stands there twice."
            )
