"""Rows of a JSONL file, one object a line; whatever is wrong is one line with file and row."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from rlpeft.errors import DataError
from rlpeft.files import reason
from rlpeft.regular import require_regular

Row = dict[str, Any]

MARK = "\ufeff"
"""Editors on Windows put it before a file, and so into the middle of files that are joined."""

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""Whether a line writes a half of a surrogate pair by its number; most do not."""

BEGINNINGS = {
    b"\x1f\x8b": "a gzip file: name it FILE.jsonl.gz",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"PAR1": "a Parquet file: name it FILE.parquet",
    b"\xff\xfe\x00\x00": "UTF-32: iconv -f UTF-32 -t UTF-8 converts it",
    b"\xff\xfe": "UTF-16: iconv -f UTF-16 -t UTF-8 converts it",
    b"\xfe\xff": "UTF-16: iconv -f UTF-16 -t UTF-8 converts it",
}
"""First bytes of what people take for JSONL, and what to do."""


def read_jsonl(path: Path, *, any_text: bool = False) -> list[Row]:
    """Read a file of one JSON object a line (`.gz` too); blank lines are skipped.

    Args:
        any_text: let halves of surrogate pairs pass, which models write.

    Raises:
        DataError: it cannot be read, is empty, or holds a line that is no object of Unicode text.
    """
    rows = [row for _, row in numbered_rows(path, any_text=any_text)]
    if not rows:
        raise DataError(f"{str(path)!r} must hold at least one row, it is empty.")
    return rows


def numbered_rows(
    path: Path, *, any_text: bool = False, skip: int = 0
) -> Iterator[tuple[int, Row]]:
    """The rows with the numbers of their lines; see `read_jsonl`.

    Args:
        skip: rows at the beginning that are passed over unread.

    Raises:
        DataError: as `read_jsonl`, but for an empty file.
    """
    number = 0
    try:
        with _open(path) as lines:
            # Lines end in \n, \r\n or \r, never in what else Unicode calls a separator of lines.
            for number, line in enumerate(lines, start=1):
                text = line.removeprefix(MARK)
                if text.strip() and skip:
                    skip -= 1
                elif text.strip():
                    row = _parse(text, path, number)
                    if not any_text and SURROGATE.search(text):
                        _require_unicode(row, f"{str(path)!r} line {number}")
                    yield number, row
    except UnicodeDecodeError as error:
        raise DataError(undecodable(path, error)) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(_damaged(path, number, error)) from error
    except OSError as error:
        raise DataError(f"{str(path)!r} must be readable: {error.strerror}.") from error


def _open(path: Path) -> IO[str]:
    require_regular(path)
    # Whatever the machine's locale says.
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _open_bytes(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb"))


def undecodable(path: Path, error: UnicodeDecodeError) -> str:
    """What a file is that is no UTF-8; by its line where it is text in part."""
    with _open_bytes(path) as file:
        start = file.read(4)
        known = next((what for first, what in BEGINNINGS.items() if start.startswith(first)), None)
        if known:
            return f"{str(path)!r} must be text in UTF-8, it seems to be {known}."
        file.seek(0)
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as found:
                return (
                    f"{str(path)!r} line {number} must be UTF-8: {found.reason} "
                    f"{line[found.start : found.start + 1]!r}, in {line[:60]!r}. Convert the file, "
                    "such as by iconv -f ENCODING -t UTF-8."
                )
    return f"{str(path)!r} must be text in UTF-8: {error}."


def _damaged(path: Path, number: int, error: Exception) -> str:
    if number == 0 and isinstance(error, gzip.BadGzipFile):
        return (
            f"{str(path)!r} must be a gzip file, as its name says, it is none. Name it "
            f"{path.stem}, or compress it: gzip {path.stem}."
        )
    return (
        f"{str(path)!r} must be a whole gzip file, it is damaged after line {number}: {error}. "
        "Compress it or fetch it again."
    )


def _parse(line: str, path: Path, number: int) -> Row:
    where = f"{str(path)!r} line {number}"
    try:
        row = json.loads(line, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where} must be one JSON object: {reason(error)}, got {line.strip()[:60]!r}. "
            f"{_mend(line, number)}"
        ) from error
    if not isinstance(row, dict):
        raise DataError(f"{where} must be a JSON object, got {type(row).__name__}.")
    return row


def _require_unicode(row: Row, where: str) -> None:
    """Refuse half a surrogate pair: no tokenizer reads it, and no file of a run can hold it."""
    for name, value in row.items():
        try:
            json.dumps({name: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = str(error.object)[error.start]
            raise DataError(
                f"{where} must hold Unicode text, column {name!r} holds the lone surrogate "
                f"{half!r}. Mend or drop it."
            ) from error


def _mend(line: str, number: int) -> str:
    """What to do about a line that is no JSON: is it of another format, or damaged?"""
    first = line.strip()[:1]
    if number > 1:
        return "Mend the line, or remove it."
    if first in ("[", "{"):
        return "Write one object a line (JSONL), not one array or an object over several lines."
    return (
        "Rows are one object a line (JSONL), or a file whose name says what else it is: FILE.csv, "
        "FILE.tsv, FILE.parquet."
    )


def _object(pairs: list[tuple[str, Any]]) -> Row:
    """A JSON object; Python's own reader keeps the last of two values without a word."""
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = next(key for key in row if [name for name, _ in pairs].count(key) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return row
