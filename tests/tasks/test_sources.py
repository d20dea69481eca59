"""Rows of a dataset as the `datasets` library serves it."""

import json

import pytest

from rlpeft.errors import DataError
from rlpeft.tasks.jsonl import read_jsonl
from rlpeft.tasks.sources import _read_hub, read_tables


def dataset(folder, **splits):
    """A folder in the layout of a Hub dataset repository, which `load_dataset` takes too."""
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def test_a_served_dataset_gives_its_rows_by_split(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    train, valid = [{"q": "a", "n": 1}, {"q": "b", "n": 2}], [{"q": "c", "n": 3}]
    assert _read_hub(dataset(tmp_path, train=train, validation=valid), None, {}) == {
        "train": train,
        "validation": valid,
    }


def test_a_served_dataset_without_train_and_test_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    with pytest.raises(
        DataError, match=r"must have a train or a test split, it has \['validation'\]"
    ):
        _read_hub(dataset(tmp_path, validation=[{"q": "c"}]), None, {})


def test_a_served_dataset_gives_the_splits_that_a_recipe_names(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "served").mkdir()
    rows = {"train": [{"q": "a"}, {"q": "b"}], "validation": [{"q": "c"}]}
    served = dataset(tmp_path / "served", **rows)
    assert _read_hub(served, None, {"train": "train[:1]", "test": "validation"}) == {
        "train": [{"q": "a"}],
        "test": [{"q": "c"}],
    }
    with pytest.raises(DataError, match=r"does not give it with split 'train_sft' \(Unknown split"):
        _read_hub(served, None, {"train": "train_sft"})


def test_splits_of_what_is_here_are_refused(tmp_path):
    folder = dataset(tmp_path, train=[{"q": "a"}])
    with pytest.raises(DataError, match="are splits of a Hub dataset"):
        read_tables(folder, splits={"train": "train"})


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_a_folder_gives_its_validation_rows_by_each_usual_name(tmp_path, name):
    folder = dataset(tmp_path, train=[{"q": "a"}], **{name: [{"q": "b"}]})
    assert read_tables(folder) == {"train": [{"q": "a"}], "validation": [{"q": "b"}]}


@pytest.mark.parametrize(
    "name",
    ["valdiation.jsonl", "Test.jsonl", "tests.jsonl", "eval.jsonl", "tests.csv", "test.json"],
)
def test_a_split_by_a_name_that_is_not_read_is_refused_and_not_carved_anew(tmp_path, name):
    folder = dataset(tmp_path, train=[{"q": "a"}])
    (tmp_path / name).write_text('{"q": "b"}\n')
    with pytest.raises(DataError, match=f"'{name}', which would not be read.*Make it [a-z]+.jsonl"):
        read_tables(folder)


def test_the_splits_of_a_folder_may_carry_the_name_of_their_dataset(tmp_path):
    folder = dataset(tmp_path, mawps_train=[{"q": "a"}], mawps_dev=[{"q": "b"}])
    assert read_tables(folder) == {"train": [{"q": "a"}], "validation": [{"q": "b"}]}
    (tmp_path / "mawps_tests.jsonl").write_text('{"q": "c"}\n')
    with pytest.raises(DataError, match=r"has no mawps_test\.jsonl; 'mawps_tests\.jsonl'"):
        read_tables(folder)


@pytest.mark.parametrize("other", ["train", "svamp_test"])
def test_splits_of_two_datasets_in_a_folder_are_refused(tmp_path, other):
    folder = dataset(tmp_path, mawps_train=[{"q": "a"}], **{other: [{"q": "b"}]})
    with pytest.raises(
        DataError, match=f"splits of one dataset, it has mawps_train.jsonl, {other}"
    ):
        read_tables(folder)


@pytest.mark.parametrize("name", ["notes.jsonl", "text.jsonl", "test.md", "my_rewards.py"])
def test_other_files_of_a_folder_are_none_of_our_business(tmp_path, name):
    folder = dataset(tmp_path, train=[{"q": "a"}])
    (tmp_path / name).write_text('{"q": "b"}\n')
    assert list(read_tables(folder)) == ["train"]


@pytest.mark.parametrize(
    ("content", "mend"),
    [
        (
            "question,answer\n1,2\n",
            r"got 'question,answer'\..*name says what else it is: FILE\.csv",
        ),
        ('[{"q": 1},\n{"q": 2}]\n', "not one array"),
        ('{\n"q": 1}\n', "an object over several lines"),
        ('{"q": 1}\n{"q": 2\n', r"line 2 .*got '\{\"q\": 2'\. Mend the line, or remove it\.$"),
    ],
)
def test_a_line_that_is_no_object_is_answered_by_what_the_file_is(tmp_path, content, mend):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=mend):
        read_jsonl(path)
