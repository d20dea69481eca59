"""Whether ranks of the learner, and workers of an engine, have work and a GPU each."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from rlpeft.doctor.row import Check, ok, warn
from rlpeft.recipe.run import Recipe


def check_ranks(recipe: Recipe) -> Iterator[Check]:
    """One row where there are several."""
    ranks, train = recipe.resources.learners, recipe.train
    if ranks == 1:
        return
    most, gpus = train.prompts_per_step * train.group_size, torch.cuda.device_count()
    held = "a part of" if recipe.learner.parallel == "shard" else "all of"
    found = f"{ranks} ranks share the {most} completions of a step, each holds {held} the model"
    if ranks > most:
        advice = f"Lower resources.learners: {ranks - most} would have nothing to do."
        yield warn("learners", found, advice)
    elif recipe.resources.learner_gpus and gpus < ranks:
        found += f"; a GPU each, this machine has {gpus}"
        yield warn("learners", found, "Train on a cluster that has them; --local would refuse.")
    else:
        yield ok("learners", found)


def check_workers(recipe: Recipe) -> Iterator[Check]:
    """One row where several share an engine."""
    workers, gpus = recipe.rollout.tensor_parallel, torch.cuda.device_count()
    if workers == 1:
        return
    found = f"{workers} workers share the weights of each of {recipe.rollout.num_engines}"
    if recipe.resources.engine_gpus and gpus < workers:
        found += f"; a GPU each, all of one machine, and this one has {gpus}"
        yield warn("workers of engines", found, "Train on a cluster with such a node.")
    else:
        yield ok("workers of engines", found)
