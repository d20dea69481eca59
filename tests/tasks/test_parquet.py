"""Rows of Parquet files: as they were written, and no more of them than memory holds."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlpeft.errors import DataError
from rlpeft.tasks.parquet import read_parquet


def write(folder, rows, name="rows.parquet"):
    pq.write_table(pa.Table.from_pylist(rows), folder / name)
    return folder / name


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = [
        {"q": "a", "n": 1, "x": 0.5, "turns": [{"role": "user", "content": "b"}], "none": None},
        {"q": "b", "n": None, "x": 2.0, "turns": [], "none": None},
    ] * 100
    assert read_parquet(write(tmp_path, rows)) == rows


def test_dates_and_bytes_are_kept(tmp_path):
    rows = [{"day": datetime.date(2025, 1, 2), "image": b"\x00\xff"}]
    assert read_parquet(write(tmp_path, rows)) == rows


def test_a_small_file_that_unpacks_to_much_is_left_unread(tmp_path):
    path = write(tmp_path, [{"q": "x" * 100_000}] * 1000)
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"at most 10,000,000 bytes of rows, unpacked, .*after row"):
        read_parquet(path, most_bytes=10_000_000)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_text('{"q": "a"}\n' * 20)
    with pytest.raises(DataError, match=r"rows\.parquet' must be a Parquet file") as error:
        read_parquet(path)
    assert "\n" not in str(error.value)


def test_a_damaged_file_says_after_which_row(tmp_path):
    path = tmp_path / "rows.parquet"
    table = pa.table({"q": [f"{n:0100}" for n in range(1000)]})
    pq.write_table(table, path, row_group_size=100, use_dictionary=False, compression="zstd")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"reading stopped after row [1-9]\d+"):
        read_parquet(path)


def test_an_empty_file_is_refused(tmp_path):
    pq.write_table(pa.table({"q": pa.array([], pa.string())}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="at least one row"):
        read_parquet(tmp_path / "rows.parquet")


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["q", "q"])
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="must name each column once, 'q' stands there twice"):
        read_parquet(tmp_path / "rows.parquet")
