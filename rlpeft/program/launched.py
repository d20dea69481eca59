"""A learner's ranks on this machine, without Ray: this process is the first of them.

The others are started by `torch.multiprocessing`, and end with this process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch.multiprocessing.spawn import spawn

from rlpeft.build import build_learner
from rlpeft.errors import ClusterError, ConfigError
from rlpeft.models.base import BaseModel
from rlpeft.models.device import own_device
from rlpeft.program.threads import num_threads
from rlpeft.recipe.run import Recipe
from rlpeft.terminal import quiet_libraries
from rlpeft.training.lead import Lead, follow
from rlpeft.training.learner import LocalLearner
from rlpeft.training.protocol import Learner
from rlpeft.training.ranks import Ranks

LAST_WORDS_S = 5.0
"""How long to wait for the exit code of a rank that answers no more."""


@contextmanager
def several(recipe: Recipe, base: BaseModel, learner: LocalLearner) -> Iterator[Learner]:
    """A learner together with the recipe's other ranks, while the context lasts.

    Raises:
        ConfigError: there are fewer GPUs than ranks.
        ClusterError: a rank is gone, or stalls.
    """
    size = recipe.resources.learners
    require_devices(size)
    with TemporaryDirectory() as folder:
        others = [_started(recipe, base, folder, rank) for rank in range(1, size)]
        try:
            _wait_for(others, Path(folder))
            learner.join(_meet(recipe, folder, 0, learner.device))
            yield cast(Learner, Lead(learner))
        except ClusterError as error:
            raise _explained(error, others) from error
        finally:
            for other in others:
                other.processes[0].kill()
            Ranks.leave()


def require_devices(size: int) -> None:
    """Refuse more ranks than there are GPUs, where they would be on GPUs.

    Raises:
        ConfigError: says how many there are.
    """
    if own_device() == "cuda" and size > (there := torch.cuda.device_count()):
        raise ConfigError(
            f"resources.learners = {size} needs a GPU for each rank, this process sees {there}. "
            "Lower it, or hide the GPUs (CUDA_VISIBLE_DEVICES='') to run on the CPU."
        )


def _started(recipe: Recipe, base: BaseModel, folder: str, rank: int) -> Any:
    """A rank's process, which sees one GPU and no other."""
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    seen = before.split(",") if before else [str(at) for at in range(recipe.resources.learners)]
    # Read when the child's libraries load, which is before any line of ours.
    os.environ[name] = seen[rank] if own_device() == "cuda" else ""
    try:
        given = (rank, recipe, base.elsewhere, folder)
        return spawn(_follow, given, nprocs=1, join=False, daemon=True)
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


def _wait_for(others: Sequence[Any], folder: Path) -> None:
    """Until the other ranks have built their learners: only then do they meet, within a limit."""
    while not all(_built(folder, rank).exists() for rank, _ in enumerate(others, 1)):
        for rank, other in enumerate(others, 1):
            try:
                other.join(timeout=0.1)
            except Exception as error:  # torch's own, which has the rank's traceback as its text
                cause = str(error).strip().splitlines()[-1]
                raise ClusterError(
                    f"every rank of the learner must start, rank {rank} did not: {cause}. Look at "
                    "memory; the same command may be given again."
                ) from error


def _follow(
    _: int, rank: int, recipe: Recipe, open_base: Callable[[], BaseModel], folder: str
) -> None:
    """One of the other ranks, in its own process, to its end."""
    quiet_libraries()
    torch.set_num_threads(num_threads(recipe.resources.learner_cpus))
    learner = build_learner(recipe, open_base())
    _built(Path(folder), rank).touch()
    learner.join(_meet(recipe, folder, rank, learner.device))
    follow(learner)


def _built(folder: Path, rank: int) -> Path:
    return folder / f"built-{rank}"


def _meet(recipe: Recipe, folder: str, rank: int, device: torch.device) -> Ranks:
    resources = recipe.resources
    return Ranks.meet(
        f"file://{folder}/ranks",
        rank,
        resources.learners,
        timeout_s=resources.learner_timeout_s,
        device=device,
    )


def _explained(error: ClusterError, others: Sequence[Any]) -> ClusterError:
    """The error, by the rank that has ended where one has."""
    for rank, other in enumerate(others, 1):
        process = other.processes[0]
        process.join(LAST_WORDS_S / len(others))
        if (code := process.exitcode) is not None and code < 0:
            return ClusterError(
                f"rank {rank} of the learner must stay alive, {signal.Signals(-code).name} ended "
                "it. Look at memory; the same command continues from the newest checkpoint."
            )
    return error
