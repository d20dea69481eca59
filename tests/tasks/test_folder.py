"""Splits of a folder in every format, whole and in parts."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlpeft.errors import DataError
from rlpeft.tasks.folder import read_folder


def write(folder, name, *questions):
    rows = [{"q": question} for question in questions]
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), folder / name)
    elif name.endswith(".csv"):
        (folder / name).write_text("\n".join(["q", *questions]))
    else:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_each_split_may_have_a_format_of_its_own(tmp_path):
    write(tmp_path, "train.parquet", "a", "b")
    write(tmp_path, "val.csv", "c")
    write(tmp_path, "test.jsonl", "d")
    assert read_folder(tmp_path, "") == {
        "train": [{"q": "a"}, {"q": "b"}],
        "validation": [{"q": "c"}],
        "test": [{"q": "d"}],
    }


def test_parts_of_a_split_are_put_together_in_their_order(tmp_path):
    for number, question in enumerate("abc"):
        write(tmp_path, f"train-{number:05}-of-00003.parquet", question)
    write(tmp_path, "test-00000-of-00001.parquet", "d")
    assert read_folder(tmp_path, "") == {
        "train": [{"q": "a"}, {"q": "b"}, {"q": "c"}],
        "test": [{"q": "d"}],
    }


def test_a_missing_part_is_told(tmp_path):
    for number in (0, 2):
        write(tmp_path, f"train-{number:05}-of-00003.parquet", "a")
    with pytest.raises(DataError, match="must hold all 3 parts of its train rows, it has 2"):
        read_folder(tmp_path, "")


@pytest.mark.parametrize("other", ["train.csv", "train-00000-of-00001.parquet"])
def test_a_split_that_is_there_twice_is_refused(tmp_path, other):
    write(tmp_path, "train.jsonl", "a")
    write(tmp_path, other, "b")
    with pytest.raises(DataError, match=rf"one file of train rows, it has train\.jsonl, {other}"):
        read_folder(tmp_path, "")
