"""Bring the run of a job back: whole or not at all, each file with the digest it had there.

A task on the node that has the folder reads it in parts, which come through Ray's object store.
Nothing of it is believed: a name that leads out of the folder, a size that does not hold and
content that is another end it before anything takes its place here.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.cluster.connect import connected, fetch, send
from jobs.cluster.run_files import RunFile, read_part, refuse_hostile, run_files, write_file
from jobs.cluster.submitted import ENDED, status
from rlpeft.errors import ClusterError, ConfigError, FileError
from rlpeft.files import check_place, replacing_folder

PATIENCE_S = 600.0
"""How long the node may take to answer; first it reads all of the folder for its digests."""


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
