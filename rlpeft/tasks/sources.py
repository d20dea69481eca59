"""Rows by split, from a local JSONL file, a folder of them, or a Hub dataset.

Files are read as plain JSON, line by line; Hub datasets through `datasets`, whose loading
scripts are not run.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

from rlpeft.errors import DataError
from rlpeft.files import reason
from rlpeft.tasks.base import SPLITS, Split

Row = dict[str, Any]
Tables = dict[Split, list[Row]]

FILE_SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
SUFFIXES = (".jsonl", ".jsonl.gz")
ENDINGS = (*SUFFIXES, ".json", ".csv", ".tsv", ".parquet")
"""Of files that people keep rows in."""

ALIKE = 0.76
"""How like a split's a file's name must be to be taken for it: `tests`, `vald`, not `text`."""


def read_tables(
    path: str, *, stem: str = "", lone: Split = "train", config: str | None = None
) -> Tables:
    """Read every split that `path` has.

    Args:
        path: a JSONL file (`.gz` too), a folder of `train.jsonl`, `validation.jsonl` and
            `test.jsonl` (or `<stem>_train.jsonl` …), or a Hub dataset id.
        stem: prefix of the file names in a folder that holds several datasets.
        lone: the split that a single file is.
        config: Hub dataset configuration.

    Raises:
        DataError: nothing there, not JSONL, or empty.
    """
    local = Path(path).expanduser()
    if local.is_file():
        return {lone: read_jsonl(local)}
    if local.is_dir():
        return _read_folder(local, stem)
    if local.is_absolute() or path.startswith((".", "~")) or path.endswith(SUFFIXES):
        raise DataError(
            f"task.path must be an existing file, folder or Hub id, got {path!r}, looked for in "
            f"{str(Path.cwd())!r}. Relative paths count from where the command is typed."
        )
    return _read_hub(path, config)


def read_jsonl(path: Path) -> list[Row]:
    """Read a file of one JSON object a line; blank lines are skipped."""
    rows = []
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    rows.append(_parse(line, path, number))
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{str(path)!r} must be UTF-8 JSONL: {error}. Convert it, such as by "
            f"iconv -f ENCODING -t UTF-8."
        ) from error
    except OSError as error:
        raise DataError(f"{str(path)!r} must be readable: {error.strerror}.") from error
    if not rows:
        raise DataError(f"{str(path)!r} must hold at least one row, it is empty.")
    return rows


def _open(path: Path) -> IO[str]:
    # Whatever the machine's locale says. Editors on Windows put a mark before the first line.
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def _parse(line: str, path: Path, number: int) -> Row:
    try:
        row = json.loads(line, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{str(path)!r} line {number} must be one JSON object: {reason(error)}, got "
            f"{line.strip()[:60]!r}. {_mend(line, number)}"
        ) from error
    if not isinstance(row, dict):
        raise DataError(
            f"{str(path)!r} line {number} must be a JSON object, got {type(row).__name__}."
        )
    return row


def _mend(line: str, number: int) -> str:
    """What to do about a line that is no JSON: is it of another format, or damaged?"""
    first = line.strip()[:1]
    if number > 1 and first == "{":
        return "Mend the line, or remove it."
    if first in ("[", "{"):
        return "Write one object a line (JSONL), not one array or an object over several lines."
    return (
        "Rows are read from JSONL, one object a line; pandas writes a CSV file so: "
        "pandas.read_csv(FILE, dtype=str).to_json('rows.jsonl', orient='records', lines=True)."
    )


def _object(pairs: list[tuple[str, Any]]) -> Row:
    """A JSON object; Python's own reader keeps the last of two values without a word."""
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = next(key for key in row if [name for name, _ in pairs].count(key) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return row


def _read_folder(folder: Path, stem: str) -> Tables:
    tables: Tables = {}
    for split in SPLITS:
        names = [f"{prefix}{alias}" for prefix in ("", f"{stem}_") for alias in FILE_SPLITS[split]]
        files = [folder / f"{name}{suffix}" for name in names for suffix in SUFFIXES]
        found = [file for file in files if file.is_file()]
        if len(found) > 1:  # whichever were taken, the other might be the one that is meant
            raise DataError(
                f"{str(folder)!r} must hold one file of {split} rows, it has "
                f"{', '.join(file.name for file in found)}. Move the others elsewhere."
            )
        if found:
            tables[split] = read_jsonl(found[0])
        else:
            _refuse_misspelt(folder, names, stem)
    if not tables.keys() & {"train", "test"}:
        own = f", {stem}_train.jsonl or {stem}_test.jsonl" if stem else ""
        raise DataError(
            f"{str(folder)!r} must hold train.jsonl or test.jsonl{own}; it has none of them."
        )
    return tables


def _refuse_misspelt(folder: Path, names: list[str], stem: str) -> None:
    """Refuse a file that seems to be a split by a name that is not read.

    Its rows would be left out without a word, and rows of another split taken in their place.
    """
    read = {alias for aliases in FILE_SPLITS.values() for alias in aliases}
    for file in () if stem else sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if file.name.endswith(ending)), "")
        name = file.name.removesuffix(ending)
        if not ending or (name in read and ending in SUFFIXES):
            continue
        if get_close_matches(name.casefold(), names, n=1, cutoff=ALIKE):
            raise DataError(
                f"{str(folder)!r} has no {names[0]}.jsonl; {file.name!r}, which would not be read, "
                f"seems to be it. Make it {names[0]}.jsonl (one JSON object a line), or move it "
                "elsewhere."
            )


def _read_hub(dataset: str, config: str | None) -> Tables:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        loaded: Mapping[str, Any] = load_dataset(dataset, config)
    except (
        DatasetNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        OSError,
        ValueError,
        RuntimeError,
    ) as error:
        cause = str(error).strip().splitlines()[0]
        raise DataError(
            f"dataset {dataset!r} is no local path and the Hub does not give it ({cause}). Check "
            "its spelling and the network, or give task.path a local JSONL file."
        ) from error
    tables: Tables = {}
    for split in SPLITS:
        name = next((alias for alias in FILE_SPLITS[split] if alias in loaded), None)
        if name:
            tables[split] = [dict(row) for row in loaded[name]]
    if not tables.keys() & {"train", "test"}:
        raise DataError(
            f"dataset {dataset!r} must have a train or a test split, it has {sorted(loaded)}."
        )
    return tables
