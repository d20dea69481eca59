"""Files and folders that are there whole or not at all, whenever a process is killed.

What is being written lies beside its target, as `.partial.*`, until all of it is on the disk. Then
it takes the target's place in one operation; only then is what stood there before removed. What the
file system refuses ends in a `FileError`: one line with the path.
"""

from __future__ import annotations

import csv
import ctypes
import errno
import json
import os
import re
import shutil
import socket
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from rlpeft.errors import FileError, RlpeftError
from rlpeft.regular import require_regular

PARTIAL, REPLACED = ".partial.", ".replaced."
"""How names begin of what is being written, and of what is being replaced."""

AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Of Linux's renameat2(2)."""

_MENDS = {
    errno.ENOSPC: "Free some space on that disk and run the same command again.",
    errno.EDQUOT: "Free some of your quota on that disk and run the same command again.",
    errno.EROFS: "Choose a place on a disk that can be written to.",
    errno.EACCES: "Choose another place, or change its permissions.",
    errno.EPERM: "Choose another place, or change its permissions.",
    errno.ENOTDIR: "A part of that path is a file: choose another one.",
    errno.EISDIR: "That is a folder where a file must be: choose another path.",
    errno.EEXIST: "A file is where a folder must be: choose another path.",
    errno.ENOENT: "Correct the path.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ELOOP: "Its symbolic links lead in a circle: choose another path.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "Close other programs: this machine has no file handles left.",
    errno.ENOTEMPTY: "Another process writes there: stop it, or choose another path.",
    errno.EXDEV: "Choose a path on one disk.",
    errno.EIO: "Check that disk.",
    errno.ENXIO: "Only regular files are read, no pipes, sockets and devices.",
    errno.ESTALE: "Check that network disk.",
}
"""What to do about the errors that are not of our making, by their number."""


def describe(error: OSError, path: Path | str | None = None) -> str | None:
    """One line about what the file system refused; `None` for errors that are none of its own."""
    mend = _MENDS.get(error.errno or 0)
    where = error.filename if error.filename is not None else path
    if mend is None:
        return None
    subject = "a file" if where is None else repr(os.fsdecode(where))
    if where is not None and len(subject) > 400:  # what is too long need not be read to its end
        subject = f"{subject[:200]}…{subject[-40:]}"
    return f"{subject} cannot be used: {os.strerror(error.errno or 0).lower()}. {mend}"


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Tell what the file system refuses in one line.

    Raises:
        FileError: the disk is full, the place cannot be written to, or it cannot be.
    """
    try:
        yield
    except OSError as error:
        line = describe(error, path)
        if line is None:
            raise
        raise FileError(line) from error
    except ValueError as error:
        if "null byte" not in str(error) and "null character" not in str(error):
            raise
        raise FileError(f"a path must hold no null byte, got {str(path)!r}.") from error
    except Exception as error:
        # safetensors tells of the disk in words alone.
        told = re.search(r"os error (\d+)", str(error))
        if type(error).__name__ != "SafetensorError" or told is None:
            raise
        line = describe(OSError(int(told[1]), ""), path)
        raise FileError(line or f"{str(path)!r} cannot be written: {error}.") from error


def check_place(path: Path, *, folder: bool) -> None:
    """Find what would stop a file or a folder from being written, before there is anything to.

    Raises:
        FileError: it cannot be there, or not be written to.
    """
    with plain_errors(path):
        if "\0" in str(path):
            raise ValueError("embedded null byte")
        ancestor = path.absolute()
        while not os.path.lexists(ancestor):
            ancestor = ancestor.parent
        ancestor = Path(os.path.realpath(ancestor, strict=True))
        is_there = path.exists()
        _refuse(
            path, is_there and path.is_dir() != folder, errno.EEXIST if folder else errno.EISDIR
        )
        if not is_there:
            _refuse(ancestor, not ancestor.is_dir(), errno.ENOTDIR)
        longest = os.pathconf(ancestor, "PC_NAME_MAX")
        names = path.parts
        _refuse(path, any(len(os.fsencode(n)) > longest for n in names), errno.ENAMETOOLONG)
        _refuse(ancestor, bool(os.statvfs(ancestor).f_flag & os.ST_RDONLY), errno.EROFS)
        _refuse(ancestor, not os.access(ancestor, os.W_OK), errno.EACCES)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file to, which takes the place of `path` when the block ends.

    Raises:
        FileError: it cannot be written; what stood at `path` is as it was.
    """
    target = _target(path)
    with plain_errors(path):
        _refuse(target, target.is_dir(), errno.EISDIR)
        with _partial_of(target) as partial:
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            mode = partial.stat().st_mode
            yield partial
            os.chmod(partial, mode)  # some libraries make private files
            _sync(partial)
            os.replace(partial, target)
            _sync(target.parent)


@contextmanager
def replacing_folder(folder: Path, *, synced: bool = True) -> Iterator[Path]:
    """An empty folder to write to, which takes the place of `folder` when the block ends.

    Its files are as readable as the folder itself. Not `synced`: what is made again if damaged.

    Raises:
        FileError: it cannot be written; what stood at `folder` is as it was.
    """
    target = _target(folder)
    with plain_errors(folder):
        _refuse(target, target.exists() and not target.is_dir(), errno.ENOTDIR)
        _restore(target)
        with _partial_of(target) as partial:
            os.mkdir(partial)
            yield partial
            _finish_tree(partial, synced=synced)
            _put(partial, target)
            _sync(target.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if they are not there."""
    with plain_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; what is no Unicode in it becomes `?`."""
    write_bytes(path, text.encode("utf-8", "replace"))


def write_json(path: Path, value: Any, *, indent: int | None = 2, sort_keys: bool = False) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=indent, sort_keys=sort_keys))


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write a JSON Lines file whole or not at all."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table whole or not at all; what is `None` is empty."""
    with replacing(path) as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def append(path: Path, content: bytes) -> None:
    """Add to a file; it is on the disk when this returns. A kill may leave a part of it."""
    with plain_errors(path), path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_text(path: Path, error: type[RlpeftError] = FileError) -> str:
    """A text in UTF-8.

    Raises:
        RlpeftError: of the class `error`; it is not there, no file, or another encoding.
    """
    try:
        require_regular(path)
        return path.read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark
    except UnicodeDecodeError as cause:
        at = f"byte {cause.object[cause.start]:#04x} at offset {cause.start}"
        raise error(f"{str(path)!r} must be text in UTF-8, got {at}. Save it as UTF-8.") from cause
    except OSError as cause:
        line = describe(cause, path)
        if line is None:
            raise
        raise error(line) from cause


def read_json(
    path: Path, error: type[RlpeftError] = FileError, *, mend: str = "Restore it."
) -> dict[str, Any]:
    """A JSON file that holds one object.

    Raises:
        RlpeftError: of the class `error`; it cannot be read, or holds something else.
    """
    try:
        value = json.loads(read_text(path, error))
    except (ValueError, RecursionError) as cause:
        if isinstance(cause, RlpeftError):
            raise
        raise error(f"{str(path)!r} must be JSON, got {reason(cause)}. {mend}") from cause
    if not isinstance(value, dict):
        raise error(f"{str(path)!r} must hold a JSON object, got {value!r:.60}. {mend}")
    return value


def read_json_if_there(path: Path, *, mend: str = "Restore it.") -> dict[str, Any] | None:
    """See `read_json`; `None` where there is no such file."""
    # Not `Path.is_file`, which raises of a path that is too long: no file can be there.
    return read_json(path, mend=mend) if os.path.isfile(path) else None


def reason(error: BaseException) -> str:
    """A parser's complaint in a few words."""
    return "too many levels" if isinstance(error, RecursionError) else str(error).rstrip(".")


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written in `folder`, and put back what it took away.

    Only for a folder that no other process writes to.
    """
    with plain_errors(folder):
        for path in sorted(folder.glob(f"{REPLACED}*")):
            _restore(folder / path.name.removeprefix(REPLACED))
        for path in folder.glob(f"{PARTIAL}*"):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder with all in it, if it is there.

    A folder takes another name first: what is being removed is never taken for something whole.
    """
    if path.is_dir() and not path.is_symlink():
        if not path.name.startswith(PARTIAL):
            hidden = _name(path)
            os.rename(path, hidden)
            path = hidden
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _target(path: Path) -> Path:
    """Where the links of a path lead: a link to another disk stays one."""
    with plain_errors(path):
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def _refuse(target: Path, wrong: bool, number: int) -> None:
    if wrong:
        raise OSError(number, os.strerror(number), str(target))


@contextmanager
def _partial_of(target: Path) -> Iterator[Path]:
    """A name beside the target; nothing is left there by this process or by dead ones."""
    for left in target.parent.glob(f"{PARTIAL}{_glob_safe(_short(target))}.*"):
        if _is_of_the_dead(left):
            remove(left)
    partial = _name(target)
    try:
        yield partial
    finally:
        with suppress(OSError):
            remove(partial)


def _name(target: Path) -> Path:
    owner = f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return target.with_name(f"{PARTIAL}{_short(target)}.{owner}")


def _short(target: Path) -> str:
    return os.fsdecode(os.fsencode(target.name)[:100])


def _glob_safe(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


@cache
def _host() -> str:
    return socket.gethostname().split(".")[0][:32].replace("-", "_").replace("/", "_")


def _is_of_the_dead(path: Path) -> bool:
    """Whether a process of this machine that is gone was writing this."""
    host, _, rest = path.name.rpartition(".")[2].partition("-")
    pid = rest.partition("-")[0]
    if host != _host() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _finish_tree(folder: Path, *, synced: bool) -> None:
    """Give files the folder's own readers, and wait until all of it is on the disk if asked to."""
    wait = _sync if synced else lambda _: None
    mode = folder.stat().st_mode & 0o777
    for root, _, files in os.walk(folder):
        for name in files:
            path = Path(root) / name
            os.chmod(path, mode & 0o666)
            wait(path)
        os.chmod(root, mode)
        wait(Path(root))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some file systems cannot do it for folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def _put(partial: Path, target: Path) -> None:
    """Put a folder in its place; `partial` is afterwards what stood there, or nothing."""
    if not target.exists():
        os.rename(partial, target)
    elif not _exchange(partial, target):
        # A kill between the two leaves no target, but both under other names: see `_restore`.
        replaced = target.with_name(f"{REPLACED}{target.name}")
        os.rename(target, replaced)
        os.rename(partial, target)
        remove(replaced)


def _restore(target: Path) -> None:
    """Finish or undo a replacement that was cut off."""
    replaced = target.with_name(f"{REPLACED}{target.name}")
    if not replaced.exists():
        return
    if target.exists():
        remove(replaced)
    else:
        os.rename(replaced, target)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one operation, where kernel and file system can."""
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    sys.audit("os.rename", os.fspath(one), os.fspath(other), -1, -1)
    paths = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0)


@cache
def _renameat2() -> Any:
    return getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
