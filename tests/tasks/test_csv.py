"""Rows of tables in text: every value as it is written, every mistake by its line."""

import pytest

from rlpeft.errors import DataError
from rlpeft.recipe.run import TaskConfig
from rlpeft.tasks.catalogue import load_task
from rlpeft.tasks.csv import read_csv


def write(folder, text, name="rows.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def test_values_are_text_as_they_stand_there(tmp_path):
    table = '\ufeffq,answer\r\n"a, ""b""\nc",007\r\n\r\nno,\r\n'
    assert read_csv(write(tmp_path, table)) == [
        {"q": 'a, "b"\nc', "answer": "007"},
        {"q": "no", "answer": ""},
    ]


def test_a_tsv_file_is_separated_by_tabs(tmp_path):
    assert read_csv(write(tmp_path, "q\tanswer\na, b\t7\n", "rows.TSV")) == [
        {"q": "a, b", "answer": "7"}
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q,answer\na,1\nb\n", r"line 3 \(row 2\) must have a value for each of the 2 columns"),
        ('q,answer\n"a\nb",1\nc,2,3\n', r"line 4 \(row 2\) .* it has 3"),
        ('q,answer\na,"b" c\n', r"line 2 \(row 1\) must be CSV: .* is written twice"),
        ('q,answer\na,1\n"b,2\nc,3\n', r"line 3 \(row 2\) must be CSV: unexpected end"),
        ("q,q\na,b\n", "line 1 must name each column once, 'q' stands there twice"),
        ("q,,b\n1,2,3\n", "line 1 must name every column, column 2 has no name"),
        ("q;answer\na;1\n", "separated by commas, they seem to be separated by semicolons"),
        ("q\tanswer\na\t1\n", r"separated by tabs: .* Name it FILE\.tsv"),
        ("q,answer\n", "at least one row below the names"),
        ("", "at least one row below the names"),
        ("q,answer\na," + "x" * 200_000, r"line 2 \(row 1\) must be CSV: field larger"),
    ],
)
def test_a_mistake_is_named_by_file_and_row(tmp_path, text, message):
    with pytest.raises(DataError, match=rf"rows\.csv.*{message}") as error:
        read_csv(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_another_encoding_is_named_by_its_line(tmp_path):
    with pytest.raises(DataError, match=r"rows\.csv' line 2 must be UTF-8"):
        read_csv(write(tmp_path, "q,answer\nä,1\n", encoding="latin-1"))


def test_a_table_is_a_task(tmp_path):
    path = write(tmp_path, "prompt,answer\n" + "".join(f"{n}+1=,{n + 1}\n" for n in range(9)))
    config = TaskConfig(name="jsonl", path=str(path), num_validation=2, num_test=3)
    task = load_task(config)
    assert [len(task.split(split)) for split in ("train", "validation", "test")] == [4, 2, 3]
    assert {(p.prompt, p.answer) for p in task.split("test")} <= {
        (f"{n}+1=", str(n + 1)) for n in range(9)
    }
