"""Rollout engines in actors of their own."""

from __future__ import annotations

from functools import partial
from typing import Any

from jobs.cluster.actors import EngineActor
from jobs.cluster.connect import place
from jobs.cluster.fleet import RemoteEngine
from jobs.cluster.threads import num_threads
from rlpeft.build import build_engine
from rlpeft.recipe.run import Recipe


def remote_engines(recipe: Recipe, group: Any, *, first: int) -> list[RemoteEngine]:
    """The recipe's engines in actors that are being placed, from bundle `first` on."""
    build, timeout_s = partial(build_engine, recipe), recipe.resources.engine_timeout_s
    threads = num_threads(recipe.resources.engine_cpus)
    actors = [
        place(EngineActor, group, first + index, threads=threads)
        for index in range(recipe.rollout.num_engines)
    ]
    return [
        RemoteEngine(f"engine {index}", partial(actor.remote, build, threads), timeout_s=timeout_s)
        for index, actor in enumerate(actors)
    ]
