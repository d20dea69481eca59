"""Files that are whole or absent, and what is told where the file system refuses."""

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from rlpeft.errors import ConfigError, FileError
from rlpeft.files import (
    PARTIAL,
    append,
    check_place,
    describe,
    read_json,
    read_text,
    replacing,
    replacing_folder,
    sweep,
    write_csv,
    write_json,
    write_jsonl,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    write_text(tmp_path / "a", "old")
    with suppress(ZeroDivisionError), replacing(tmp_path / "a") as partial:
        partial.write_text("new")
        raise ZeroDivisionError
    assert read_text(tmp_path / "a") == "old"
    assert names(tmp_path) == ["a"]


def test_what_fails_leaves_the_old_folder_and_nothing_beside_it(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    with suppress(ZeroDivisionError), replacing_folder(tmp_path / "a") as partial:
        (partial / "new").touch()
        raise ZeroDivisionError
    assert names(tmp_path / "a") == ["old"]
    assert names(tmp_path) == ["a"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    with replacing_folder(tmp_path / "link") as partial:
        (partial / "new").touch()
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "disk") == ["new"]


def test_private_files_of_libraries_become_as_readable_as_others(tmp_path):
    before = os.umask(0o022)
    try:
        with replacing_folder(tmp_path / "a") as partial:
            (partial / "x").touch(0o600)
        with replacing(tmp_path / "b") as partial:
            partial.chmod(0o600)
    finally:
        os.umask(before)
    modes = [oct(path.stat().st_mode)[-3:] for path in (tmp_path / "a" / "x", tmp_path / "b")]
    assert modes == ["644", "644"]
    assert oct((tmp_path / "a").stat().st_mode)[-3:] == "755"


def test_what_a_dead_process_left_is_removed_and_what_a_live_one_writes_stays(tmp_path):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with replacing(tmp_path / "a") as partial:
        alive = partial.name
        dead = alive.replace(f"-{os.getpid()}-", f"-{pid}-")
        (tmp_path / dead).touch()
        write_text(tmp_path / "a", "x")
        assert names(tmp_path) == sorted([alive, "a"])


def test_sweeping_removes_partial_files_and_nothing_else(tmp_path):
    for name in (f"{PARTIAL}x", "x", ".hidden"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert names(tmp_path) == [".hidden", "x"]


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EROFS, "disk that can be written to"),
        (errno.EACCES, "permissions"),
        (errno.ENAMETOOLONG, "shorter path"),
    ],
)
def test_what_the_file_system_refuses_is_one_line_with_the_path(tmp_path, number, mend):
    with pytest.raises(FileError, match=mend) as caught, replacing(tmp_path / "expert") as partial:
        raise OSError(number, os.strerror(number), str(partial.parent / "expert"))
    assert "expert" in str(caught.value)


def test_a_full_disk_under_safetensors_is_one_line_too(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    words = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(FileError, match=r"Free some space .* again"), replacing(tmp_path / "x"):
        raise safetensors.SafetensorError(words)


def test_a_file_that_takes_nothing_more_is_one_line():
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is Linux's")
    with pytest.raises(FileError, match=r"no space left on device\. Free some space"):
        append(Path("/dev/full"), b"x")


def test_a_defect_is_not_told_as_the_disks():
    assert describe(OSError("no number")) is None
    assert describe(OSError(errno.EBADF, "bad descriptor")) is None


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda path: path / "file" / "out", "part of that path is a file"),
        (lambda path: path / "new" / ("x" * 300), "shorter path"),
        (lambda path: path / "loop" / "out", "in a circle"),
        (lambda path: path / "a\0b", "null byte"),
    ],
    ids=["below a file", "long", "circular", "null"],
)
def test_an_impossible_place_is_refused_before_anything_is_written(tmp_path, make, cause, folder):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    before = names(tmp_path)
    with pytest.raises(FileError, match=cause):
        check_place(make(tmp_path), folder=folder)
    assert names(tmp_path) == before


def test_a_file_is_no_folder_and_a_folder_no_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="file is where a folder must be"):
        check_place(tmp_path / "file", folder=True)
    with pytest.raises(FileError, match="folder where a file must be"):
        check_place(tmp_path, folder=False)
    check_place(tmp_path / "file", folder=False)
    check_place(tmp_path / "new" / "folder", folder=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(FileError, match="permissions"):
        check_place(tmp_path / "out", folder=True)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"na\xefve", "UTF-8, got byte 0xef at offset 2"),
        (b"\xff\xfe{\x00}\x00", "UTF-8, got byte 0xff at offset 0"),
        (b"[" * 100_000, "too many levels"),
        (b"[1]", "must hold a JSON object"),
        (b"{", "must be JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_in_the_class_of_its_reader(tmp_path, content, cause):
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(ConfigError, match=cause) as caught:
        read_json(tmp_path / "recipe.json", ConfigError)
    assert "recipe.json" in str(caught.value)


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(FileError, match="folder where a file must be"):
        read_text(tmp_path)


def test_json_comes_back(tmp_path):
    write_json(tmp_path / "deep" / "a.json", {"b": [1, None, "ü"]})
    assert read_json(tmp_path / "deep" / "a.json") == {"b": [1, None, "ü"]}


def test_a_table_is_written_whole_and_leaves_out_what_is_none(tmp_path):
    write_csv(tmp_path / "a" / "t.csv", ["x", "y"], [[1, None], ["a,b", 0.5]])
    assert (tmp_path / "a" / "t.csv").read_bytes() == b'x,y\r\n1,\r\n"a,b",0.5\r\n'


def test_a_table_that_fails_on_the_way_leaves_the_old_one(tmp_path):
    def rows():
        yield [1]
        raise RuntimeError

    write_csv(tmp_path / "t.csv", ["x"], [[0]])
    with pytest.raises(RuntimeError):
        write_csv(tmp_path / "t.csv", ["x"], rows())
    assert (tmp_path / "t.csv").read_text() == "x\n0\n"
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_json_lines_are_one_a_row(tmp_path):
    write_jsonl(tmp_path / "r.jsonl", [{"a": 1}, {"b": "ü"}])
    assert (tmp_path / "r.jsonl").read_text() == '{"a": 1}\n{"b": "\\u00fc"}\n'
