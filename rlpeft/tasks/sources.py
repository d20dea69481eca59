"""Rows by split, from a local JSONL file, a folder of them, or a Hub dataset.

Files are read as plain JSON, line by line; Hub datasets through `datasets`, whose loading
scripts are not run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from rlpeft.errors import DataError
from rlpeft.suggest import did_you_mean, paths_beside
from rlpeft.tasks.base import SPLITS, Split
from rlpeft.tasks.jsonl import Row, read_jsonl

Tables = dict[Split, list[Row]]

FILE_SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
SUFFIXES = (".jsonl", ".jsonl.gz")
NAMED = re.compile(
    rf"(?:(?P<stem>.+)_)?(?:{'|'.join(a for names in FILE_SPLITS.values() for a in names)})"
    r"\.jsonl(?:\.gz)?"
)
"""A file of rows that its name says the split of, and maybe the dataset."""

LISTED = 5
"""Files of a folder that an error shows."""

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
        stem: prefix of the file names in a folder that holds several datasets; otherwise it may
            hold one, of whatever name.
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
            f"{did_you_mean(path, paths_beside(local))}"
        )
    return _read_hub(path, config)


def _read_folder(folder: Path, stem: str) -> Tables:
    tables: Tables = {}
    is_shared, stem = bool(stem), stem or _stem_of(folder)
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
        elif not is_shared:
            _refuse_misspelt(folder, names, f"{stem}_{split}" if stem else split)
    if not tables.keys() & {"train", "test"}:
        own = f" (or {stem}_train.jsonl, {stem}_test.jsonl)" if stem else ""
        raise DataError(
            f"{str(folder)!r} must hold train.jsonl or test.jsonl{own}, of one JSON object a "
            f"line; it holds {_listed(folder)}. Name its files so, or give task.path one of them."
        )
    return tables


def _stem_of(folder: Path) -> str:
    """What all splits in a folder are called by, as `mawps` in `mawps_train.jsonl`.

    Empty where splits have plain names.

    Raises:
        DataError: there are files of several datasets, or of one beside plain names.
    """
    named = [(file.name, NAMED.fullmatch(file.name)) for file in sorted(folder.iterdir())]
    found = {name: match["stem"] or "" for name, match in named if match}
    if len(stems := set(found.values())) > 1:
        raise DataError(
            f"{str(folder)!r} must hold the splits of one dataset, it has {', '.join(found)}: "
            "which of them are meant cannot be known. Give each dataset a folder of its own, or "
            "give task.path one file."
        )
    return stems.pop() if stems else ""


def _listed(folder: Path) -> str:
    """What a folder holds, for an error."""
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more}" if names else "nothing"


def _refuse_misspelt(folder: Path, names: list[str], wanted: str) -> None:
    """Refuse a file that seems to be a split by a name that is not read.

    Its rows would be left out without a word, and rows of another split taken in their place.
    """
    for file in sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if file.name.endswith(ending)), "")
        name = file.name.removesuffix(ending)
        if not ending or NAMED.fullmatch(file.name):
            continue
        if get_close_matches(name.casefold(), names, n=1, cutoff=ALIKE):
            raise DataError(
                f"{str(folder)!r} has no {wanted}.jsonl; {file.name!r}, which would not be read, "
                f"seems to be it. Make it {wanted}.jsonl (one JSON object a line), or move it "
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
