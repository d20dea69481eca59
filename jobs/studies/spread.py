"""Runs of a study as tasks of a Ray cluster, as many at once as it has room for.

Each is a process of its own, and is started again where its node is lost. On a node that sees the
study's folder it works there, and goes on where a run was cut off; from any other what a study
needs of it travels back through Ray.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray

from jobs.cluster.connect import connected, fetch
from jobs.studies.cells import StudyCell
from jobs.studies.results import KEPT
from jobs.studies.study import RunCells, run_cell
from rlpeft.files import make_folder, read_text, write_bytes, write_text
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.run import Recipe
from rlpeft.terminal import quiet_libraries

RETRIES = 3
"""How often a run whose node is lost is begun anew."""

MARK = ".seen"
"""In the folder of all runs: what it holds tells a node whether it sees this very folder."""

Files = dict[str, bytes]


def run_on_ray(address: str | None) -> RunCells:
    """What runs cells on a cluster."""

    def run_cells(cells: Sequence[StudyCell], folder: Path) -> Iterator[StudyCell]:
        make_folder(folder)
        write_text(folder / MARK, mark := uuid.uuid4().hex)
        with connected(address):
            waiting = {
                _task(cell).remote(cell.by, cell.recipe, folder / cell.id, mark, os.getcwd()): cell
                for cell in cells
            }
            while waiting:
                (done,), _ = ray.wait([*waiting])
                cell = waiting.pop(done)
                for name, content in fetch(done).items():
                    make_folder((folder / cell.id / name).parent)
                    write_bytes(folder / cell.id / name, content)
                yield cell

    return run_cells


def _task(cell: StudyCell) -> Any:
    """A fresh process for a run, with the CPUs that it would ask for in one process."""
    resources = cell.recipe.resources
    cpus = max(resources.learner_cpus, resources.engine_cpus)
    gpus = max(resources.learner_gpus, resources.engine_gpus)
    return ray.remote(num_cpus=cpus, num_gpus=gpus, max_calls=1, max_retries=RETRIES)(_run)


def _run(by: str, recipe: Recipe | AdaptRecipe, folder: Path, mark: str, place: str) -> Files:
    """One run; its files, unless it lies where they belong.

    Args:
        place: where the study was started, from where relative paths count.
    """
    quiet_libraries()
    if Path(place).is_dir():
        os.chdir(place)
        sys.path.insert(0, place)
    seen = folder.parent / MARK
    if seen.is_file() and read_text(seen) == mark:
        run_cell(by, recipe, folder)
        return {}
    with TemporaryDirectory() as here:
        run_cell(by, recipe, own := Path(here) / "run")
        return {
            str(path.relative_to(own)): path.read_bytes()
            for name in KEPT
            for path in (own / name, *(own / name).glob("*"))
            if path.is_file()
        }
