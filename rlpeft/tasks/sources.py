"""Rows by split, from a local file, a folder of them, or a Hub dataset: read, or where they are.

Hub datasets are read through `datasets`, whose loading scripts are not run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rlpeft.errors import DataError
from rlpeft.suggest import path_meant
from rlpeft.tasks.base import SPLITS, Split
from rlpeft.tasks.folder import FILE_SPLITS, Tables, files_of_splits, read_folder
from rlpeft.tasks.formats import ENDINGS, read_rows
from rlpeft.tasks.jsonl import Row
from rlpeft.tasks.row_sources import FileRows, HubRows
from rlpeft.tasks.stream import RowSource


def read_tables(
    path: str,
    *,
    stem: str = "",
    lone: Split = "train",
    config: str | None = None,
    splits: Mapping[Split, str] | None = None,
) -> Tables:
    """Read every split that `path` has.

    Args:
        path: a file (see `rlpeft.tasks.formats`), a folder of `train.jsonl`, `validation.jsonl`
            and `test.jsonl`, or the same as `.csv` or `.parquet` (or `<stem>_train.jsonl` …), or a
            Hub dataset id.
        stem: prefix of the file names in a folder that holds several datasets; otherwise it may
            hold one, of whatever name.
        lone: the split that a single file is.
        config: Hub dataset configuration.
        splits: its splits by ours, where they have other names; slices as `datasets` has them.

    Raises:
        DataError: nothing there, not what its name says, or empty.
    """
    local = _here(path, splits)
    if local is None:
        return _read_hub(path, config, splits or {})
    return {lone: read_rows(local)} if local.is_file() else read_folder(local, stem)


def stream_tables(
    path: str,
    *,
    lone: Split = "train",
    config: str | None = None,
    splits: Mapping[Split, str] | None = None,
) -> dict[Split, RowSource]:
    """Where the rows of every split that `path` has are read from: see `read_tables`.

    Raises:
        DataError: nothing there, or not what its name says.
    """
    local = _here(path, splits)
    if local is None:
        return _stream_hub(path, config, splits or {})
    if local.is_file():
        return {lone: FileRows((local,))}
    return {split: FileRows(files) for split, files in files_of_splits(local, "").items()}


def _here(path: str, splits: Mapping[Split, str] | None) -> Path | None:
    """The file or folder; `None` of an id of the Hub.

    Raises:
        DataError: it is of this machine, and not there, or has splits of the Hub.
    """
    local = Path(path).expanduser()
    if splits and local.exists():
        raise DataError(
            f"task.options.splits are splits of a Hub dataset, {path!r} is here. Remove them: the "
            "splits of a folder are the names of its files."
        )
    if local.is_file() or local.is_dir():
        return local
    if is_here(path):
        raise DataError(
            f"task.path must be an existing file, folder or Hub id, got {path!r}, looked for in "
            f"{str(Path.cwd())!r}. Relative paths count from where the command is typed."
            f"{path_meant(local)}"
        )
    return None


def is_here(path: str) -> bool:
    """Whether a path is one of this machine, there or not; others are ids of the Hub."""
    local = Path(path).expanduser()
    named = local.is_absolute() or path.startswith((".", "~")) or path.endswith(ENDINGS)
    return named or local.exists()


def _read_hub(dataset: str, config: str | None, splits: Mapping[Split, str]) -> Tables:
    if splits:
        return {ours: _rows(_load(dataset, config, theirs)) for ours, theirs in splits.items()}
    loaded: Mapping[str, Any] = _load(dataset, config, None)
    return {split: _rows(loaded[name]) for split, name in _named(dataset, loaded).items()}


def _stream_hub(
    dataset: str, config: str | None, splits: Mapping[Split, str]
) -> dict[Split, RowSource]:
    if sliced := [theirs for theirs in splits.values() if "[" in theirs]:
        raise DataError(
            "task.options.splits must name whole splits where rows stream (task.streaming), got "
            f"{sliced[0]!r}. Remove the slice, or task.streaming."
        )
    if not splits:
        splits = _named(dataset, _load(dataset, config, None, streaming=True))
    return {
        ours: HubRows(partial(_load, dataset, config, theirs, streaming=True), dataset)
        for ours, theirs in splits.items()
    }


def _named(dataset: str, loaded: Collection[str]) -> dict[Split, str]:
    """The splits of a dataset by ours.

    Raises:
        DataError: there is neither train nor test.
    """
    found: dict[Split, str] = {}
    for split in SPLITS:
        name = next((alias for alias in FILE_SPLITS[split] if alias in loaded), None)
        if name:
            found[split] = name
    if not found.keys() & {"train", "test"}:
        raise DataError(
            f"dataset {dataset!r} must have a train or a test split, it has {sorted(loaded)}. Say "
            "which is which, such as task.options.splits = { train = 'train_sft' }."
        )
    return found


def _rows(served: Iterable[Mapping[str, Any]]) -> list[Row]:
    return [dict(row) for row in served]


def _load(dataset: str, config: str | None, split: str | None, *, streaming: bool = False) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return load_dataset(dataset, config, split=split, streaming=streaming)
    except (
        DatasetNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        OSError,
        ValueError,
        RuntimeError,
    ) as error:
        cause = str(error).strip().splitlines()[0]
        named = f" with split {split!r}" if split else ""
        raise DataError(
            f"dataset {dataset!r} is no local path and the Hub does not give it{named} ({cause}). "
            "Check its spelling and the network, or give task.path a local file."
        ) from error
