"""Files of a run that go from one place to another: listed with digests, believed by nobody.

A name that leads out of the folder, a size that does not hold and content that is another are
refused before anything takes its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rlpeft.errors import ClusterError, FileError
from rlpeft.files import PARTIAL, REPLACED
from rlpeft.runs.driver import has_driver

PART, MOST_FILES = 8 * 2**20, 100_000
"""Bytes that come at a time, and files of a run."""


class RunFile(NamedTuple):
    """A file of a run: its path in the run's folder, its bytes, and their SHA-256."""

    name: str
    size: int
    digest: str


def run_files(folder: str) -> list[RunFile]:
    """Files of a run, on the node that has it; what a killed process left half written stays.

    Raises:
        FileError: there is no such folder, a driver is at work in it, or it holds links.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileError(
            f"the run folder {folder!r} must be on the node that ran the job, it is not: the job "
            "ended before it began one, or that node is gone."
        )
    if has_driver(root):
        raise FileError(f"the run in {folder!r} must have ended, another driver is at work on it.")
    found = []
    for path in paths_of(root):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found.append(RunFile(path.relative_to(root).as_posix(), path.stat().st_size, digest))
    return found


def paths_of(root: Path) -> list[Path]:
    """Files of a run but for what is half written.

    Raises:
        FileError: it holds links.
    """
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise FileError(f"a run must hold files and folders alone, {str(path)!r} is neither.")
        parts = path.relative_to(root).parts
        is_left = any(part.startswith((PARTIAL, REPLACED)) for part in parts)
        if path.is_file() and not is_left:
            found.append(path)
    return found


def read_part(folder: str, name: str, offset: int) -> bytes:
    """At most `PART` bytes of a file of a run, on the node that has it."""
    with (Path(folder) / name).open("rb") as file:
        file.seek(offset)
        return file.read(PART)


def refuse_hostile(files: Sequence[RunFile], there: str) -> None:
    """Refuse names that are no plain paths below a folder, and more files than a run has.

    Raises:
        ClusterError: names the first.
    """
    if len(files) > MOST_FILES:
        raise ClusterError(f"a run must have at most {MOST_FILES:,} files, {there!r} has more.")
    names = set[str]()
    for name, size, _ in files:
        parts = name.split("/")
        is_plain = name.isprintable() and not set(parts) & {"", ".", ".."} and "\\" not in name
        if not is_plain or name in names or size < 0:
            raise ClusterError(
                f"files of a run must have plain names, each its own, got {name!r:.80} of {size} "
                f"bytes in {there!r}. Nothing is written."
            )
        names.add(name)


def write_file(folder: Path, file: RunFile, read: Callable[[int], bytes]) -> None:
    """Write a file that comes in parts.

    Args:
        read: the part that begins at an offset.

    Raises:
        ClusterError: it is not what was listed.
    """
    path, digest = folder / file.name, hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as written:
        for offset in range(0, file.size, PART):
            part = read(offset)
            if len(part) != min(PART, file.size - offset):
                break
            digest.update(part)
            written.write(part)
    if digest.hexdigest() != file.digest:
        raise ClusterError(
            f"a file must arrive as it was listed, {file.name!r} did not: it is being changed. "
            "Nothing is written; fetch again once nobody writes to that run."
        )
