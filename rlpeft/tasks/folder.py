"""Rows by split of a folder of files: which file is which split's, as their names say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from rlpeft.errors import DataError
from rlpeft.tasks.base import SPLITS, Split
from rlpeft.tasks.formats import ENDINGS, read_rows
from rlpeft.tasks.jsonl import Row

Tables = dict[Split, list[Row]]

FILE_SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
ENDING = "|".join(map(re.escape, sorted(ENDINGS, key=len, reverse=True)))

SHARD = re.compile(
    rf"(?P<name>.+)-(?P<number>[0-9]{{5}})-of-(?P<total>[0-9]{{5}})(?P<ending>{ENDING})"
)
"""A part of a file, as the Hub names those of a large one."""

NAMED = re.compile(
    rf"(?:(?P<stem>.+)_)?(?:{'|'.join(a for names in FILE_SPLITS.values() for a in names)})"
    rf"(?:-[0-9]{{5}}-of-[0-9]{{5}})?(?:{ENDING})"
)
"""A file of rows that its name says the split of, and maybe the dataset."""

LISTED = 5
"""Files of a folder that an error shows."""

OF_PEOPLE = (*ENDINGS, ".json")
"""Endings of files that people keep rows in."""

ALIKE = 0.76
"""How like a split's a file's name must be to be taken for it: `tests`, `vald`, not `text`."""


def read_folder(folder: Path, stem: str) -> Tables:
    """Read every split that a folder has a file of, or the parts of one.

    Raises:
        DataError: see `files_of_splits`; or a row of one of the files is wrong.
    """
    found = files_of_splits(folder, stem).items()
    return {split: [row for file in files for row in read_rows(file)] for split, files in found}


def files_of_splits(folder: Path, stem: str) -> dict[Split, list[Path]]:
    """The file of every split that a folder has, or the parts of it in their order.

    Args:
        stem: see `rlpeft.tasks.sources.read_tables`.

    Raises:
        DataError: files of no split, of one split twice, or parts that do not make a whole.
    """
    found: dict[Split, list[Path]] = {}
    is_shared, stem = bool(stem), stem or _stem_of(folder)
    for split in SPLITS:
        names = [f"{prefix}{alias}" for prefix in ("", f"{stem}_") for alias in FILE_SPLITS[split]]
        if files := _files_of(folder, names, split):
            found[split] = files
        elif not is_shared:
            _refuse_misspelt(folder, names, f"{stem}_{split}" if stem else split)
    if not found.keys() & {"train", "test"}:
        own = f" (or {stem}_train.jsonl, {stem}_test.jsonl)" if stem else ""
        raise DataError(
            f"{str(folder)!r} must hold train.jsonl or test.jsonl{own}, or the same as .csv or "
            f".parquet; it holds {_listed(folder)}. Name its files so, or give task.path one of "
            "them."
        )
    return found


def _files_of(folder: Path, names: Sequence[str], split: Split) -> list[Path]:
    """The file of a split, or all parts of it in their order."""
    found = [folder / f"{name}{ending}" for name in names for ending in ENDINGS]
    found = [file for file in found if file.is_file()]
    shards = [match for file in sorted(folder.iterdir()) if (match := SHARD.fullmatch(file.name))]
    shards = [match for match in shards if match["name"] in names]
    kinds = {(match["name"], match["total"], match["ending"]) for match in shards}
    if len(found) + len(kinds) > 1:  # whichever were taken, another might be the one that is meant
        listed = ", ".join([file.name for file in found] + [match[0] for match in shards][:LISTED])
        raise DataError(
            f"{str(folder)!r} must hold one file of {split} rows, it has {listed}. Move the others "
            "elsewhere."
        )
    if shards and len(shards) != int(shards[0]["total"]):
        raise DataError(
            f"{str(folder)!r} must hold all {int(shards[0]['total'])} parts of its {split} rows, "
            f"it has {len(shards)}: {shards[0][0]} … Fetch the others."
        )
    return found or [folder / match[0] for match in shards]


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
        ending = next((ending for ending in OF_PEOPLE if file.name.endswith(ending)), "")
        name = file.name.removesuffix(ending)
        if not ending or NAMED.fullmatch(file.name):
            continue
        if get_close_matches(name.casefold(), names, n=1, cutoff=ALIKE):
            raise DataError(
                f"{str(folder)!r} has no {wanted}.jsonl; {file.name!r}, which would not be read, "
                f"seems to be it. Make it {wanted}.jsonl (one JSON object a line), .csv or "
                ".parquet, or move it elsewhere."
            )
