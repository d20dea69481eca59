"""Completions per second through the whole pipeline against the bare engine.

The pipeline draws problems, encodes prompts, sends requests to an engine actor, takes completions
back and scores them. The bare engine gets the same requests, seeds included, in this process, with
as many threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

from jobs.bench.rows import BenchRow, interleave, medians
from jobs.cluster.parts import on_ray
from jobs.recipes import read_recipe
from rlpeft.build import build_canary, build_engine, read_decks
from rlpeft.models.base import BaseModel
from rlpeft.program.parts import torch_threads
from rlpeft.program.threads import num_threads
from rlpeft.recipe.run import Recipe
from rlpeft.training.collect import GroupSource, training_requests

REPEATS = {"quickstart": 25, "smollm2-arithmetic": 7}
"""A step takes a twelfth of a second on the tiny base model, seconds on SmolLM2-135M."""


def rows(*, repeats: Mapping[str, int] = REPEATS) -> Iterator[BenchRow]:
    """Time one step's completions both ways, recipe by recipe."""
    for name, number in repeats.items():
        yield row(read_recipe(name), number, goal=0.9)


def row(recipe: Recipe, repeats: int, *, goal: float) -> BenchRow:
    """One step's completions of a recipe, both ways."""
    seconds = medians(_seconds(recipe, repeats))
    count = recipe.train.prompts_per_step * recipe.train.group_size
    ratio = seconds["bare"] / seconds["pipeline"]
    kind, what = recipe.rollout.engine, f"{recipe.model.name}, {count} a step in"
    return BenchRow(
        f"completions through the pipeline against the bare {kind} engine ({what} "
        f"{seconds['bare']:.3g} s)",
        count / seconds["pipeline"],
        count / seconds["bare"],
        ratio,
        "1/s",
        "1 x: the engine's own time",
        f">= {goal:g} x",
        ratio >= goal,
    )


def _seconds(recipe: Recipe, repeats: int) -> dict[str, list[float]]:
    base = BaseModel.open(recipe.model.name)
    data = read_decks(recipe, base)
    decks, prompter = data.decks, data.first.prompter
    with (
        on_ray().open(recipe, base, None) as parts,
        closing(build_engine(recipe.engine, base)) as bare,
    ):
        canary = build_canary(data.first.task, prompter)
        proof = parts.learner.proof(canary, recipe.rollout.canary_bound)
        parts.fleet.sync(proof)
        bare.load_adapter(proof.state)
        count = recipe.train.prompts_per_step
        _, requests = training_requests(
            decks, 0, count, train=recipe.train, prompter=prompter, step=1
        )
        sampling = recipe.rollout.sampling
        source = GroupSource(decks, parts.fleet, parts.scorer, recipe.train, sampling, prompter)
        sides = {
            "pipeline": lambda: source.collect(cursor=0, step=1),
            "bare": lambda: bare.rollout(requests, sampling),
        }
        with torch_threads(num_threads(recipe.resources.engine_cpus)):
            return interleave(sides, repeats=repeats)
