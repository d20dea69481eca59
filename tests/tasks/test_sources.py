"""Rows of a dataset as the `datasets` library serves it."""

import json

import pytest

from rlpeft.errors import DataError
from rlpeft.tasks.sources import _read_hub


def dataset(folder, **splits):
    """A folder in the layout of a Hub dataset repository, which `load_dataset` takes too."""
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def test_a_served_dataset_gives_its_rows_by_split(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    train, valid = [{"q": "a", "n": 1}, {"q": "b", "n": 2}], [{"q": "c", "n": 3}]
    assert _read_hub(dataset(tmp_path, train=train, validation=valid), None) == {
        "train": train,
        "validation": valid,
    }


def test_a_served_dataset_without_train_and_test_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    with pytest.raises(
        DataError, match=r"must have a train or a test split, it has \['validation'\]"
    ):
        _read_hub(dataset(tmp_path, validation=[{"q": "c"}]), None)
