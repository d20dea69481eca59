"""Completions per second through the whole pipeline against the bare engine.

The pipeline draws problems, encodes prompts, sends requests to an engine actor, takes completions
back and scores them. The bare engine gets the same requests in this process. Both run one thread.
"""

from __future__ import annotations

from jobs.bench.rows import BenchRow, interleave, medians
from jobs.parts import open_parts
from jobs.recipes import read_recipe
from rlpeft.build import build_canary, build_engine, build_prompter
from rlpeft.collect import Collector, collect, draw, training_sampling
from rlpeft.evaluate import rollout_seed
from rlpeft.rollout.fleet import Proof
from rlpeft.tasks.catalogue import load_task
from rlpeft.types import Request


def rows(*, recipe_name: str = "quickstart", repeats: int = 7) -> list[BenchRow]:
    """Time one step's completions both ways."""
    recipe = read_recipe(recipe_name)
    task, prompter, bare = load_task(recipe.task), build_prompter(recipe), build_engine(recipe)
    train = recipe.train
    problems = draw(task.split("train"), 0, train.prompts_per_step, train.seed)
    requests = [
        Request(
            p.id, prompter.ids(p), tuple(rollout_seed(0, p.id, m) for m in range(train.group_size))
        )
        for p in problems
    ]
    with open_parts(recipe, ray=True, address=None) as parts:
        canary = build_canary(task, prompter)
        state, expected = parts.learner.adapter_state(), parts.learner.logprobs(canary)
        parts.fleet.sync(Proof(state, canary, expected, recipe.rollout.canary_bound))
        source = Collector(recipe, task.split("train"), parts.fleet, parts.scorer, prompter)
        sides = {
            "pipeline": lambda: collect(source, 0, step=1, version=0),
            "bare": lambda: bare.rollout(requests, training_sampling(recipe)),
        }
        seconds = medians(interleave(sides, repeats=repeats))
    count = train.prompts_per_step * train.group_size
    ratio = seconds["bare"] / seconds["pipeline"]
    return [
        BenchRow(
            f"completions through the pipeline against the bare hf engine ({recipe.model.name})",
            count / seconds["pipeline"],
            count / seconds["bare"],
            ratio,
            "1/s",
            "1 x: the engine's own time",
            ">= 0.9 x",
            ratio >= 0.9,
        )
    ]
