"""Bring the run of a job back: whole or not at all, each file with the digest it had there.

A task on the node that has the folder reads it in parts, which come through Ray's object store.
Nothing of it is believed: a name that leads out of the folder, a size that does not hold and
content that is another end it before anything takes its place here.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.cluster.connect import connected, fetch, send
from jobs.cluster.submitted import ENDED, status
from rlpeft.errors import ClusterError, ConfigError, FileError
from rlpeft.files import PARTIAL, REPLACED, check_place, replacing_folder
from rlpeft.runs.driver import has_driver

PART, MOST_FILES = 8 * 2**20, 100_000
"""Bytes that come at a time, and files of a run."""

PATIENCE_S = 600.0
"""How long the node may take to answer; first it reads all of the folder for its digests."""


class RunFile(NamedTuple):
    """A file of a run: its path in the run's folder, its bytes, and their SHA-256."""

    name: str
    size: int
    digest: str


class FetchedRun(NamedTuple):
    """What was fetched: where it lies now, and how its job ended."""

    folder: Path
    files: int
    size: int
    state: str
    message: str


def fetch_run(job: str, *, address: str, to: Path | None = None) -> FetchedRun:
    """Copy the folder of a job's run to this machine, which must be a node of its cluster.

    Args:
        to: a folder that is not there yet, or is empty; `runs/` and the run's own name if absent.

    Raises:
        ClusterError: the job is not known, or has not ended; its node does not answer.
        ConfigError: it keeps no run, or there is something where it should go.
        FileError: the folder is not there, holds more than files, or has no room here.
    """
    known = status(job, address=address)
    if not known.get("out"):
        raise ConfigError(f"a job must keep a run folder, {job!r} keeps none: it was sent without.")
    if known["status"] not in ENDED:
        raise ClusterError(
            f"a job must have ended before its run is fetched, {job!r} is {known['status']}. Wait "
            f"for it: rlpeft logs {job} --follow; or end it: rlpeft stop {job}"
        )
    folder = to or Path("runs") / PurePosixPath(known["out"]).name
    _require_free(folder)
    with connected(address):
        files = _copy(known["out"], folder, known["node"])
    size = sum(file.size for file in files)
    return FetchedRun(folder, len(files), size, known["status"], known["message"])


def _require_free(folder: Path) -> None:
    check_place(folder, folder=True)
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(
            f"--to must be a folder that is not there yet, or is empty, {str(folder)!r} is neither."
        )


def _copy(there: str, folder: Path, node: str | None) -> list[RunFile]:
    # Without it, Ray puts the task anywhere; a folder on a shared disk is found there, too.
    place = "DEFAULT" if node is None else NodeAffinitySchedulingStrategy(node, soft=True)
    listing, part = (
        ray.remote(each).options(num_cpus=0, scheduling_strategy=place)
        for each in (run_files, read_part)
    )
    files = fetch(send(listing, there), timeout_s=PATIENCE_S)
    refuse_hostile(files, there)
    folder.parent.mkdir(parents=True, exist_ok=True)
    size, free = sum(file.size for file in files), shutil.disk_usage(folder.parent).free
    if size > free:
        raise FileError(
            f"{str(folder)!r} needs {size / 1e9:,.1f} GB, its disk has {free / 1e9:,.1f}. Free "
            "some, or name another: --to DIR"
        )

    def read(name: str, offset: int) -> bytes:
        return bytes(fetch(send(part, there, name, offset), timeout_s=PATIENCE_S))

    with replacing_folder(folder) as written:
        for file in files:
            write_file(written, file, partial(read, file.name))
    return files


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
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise FileError(f"a run must hold files and folders alone, {str(path)!r} is neither.")
        name = path.relative_to(root).as_posix()
        is_left = any(part.startswith((PARTIAL, REPLACED)) for part in name.split("/"))
        if path.is_file() and not is_left:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append(RunFile(name, path.stat().st_size, digest))
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
