"""What streaming costs, and what it gives: scoring while others are still being generated.

The slow reward is tried on an engine that only waits, so that nothing but the pipeline is measured:
its answers take as long as log-normal lengths say.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

from jobs.bench import pipeline
from jobs.bench.rows import BenchRow, interleave, medians
from jobs.bench.slow_reward import SECONDS_A_ROW
from jobs.cluster.actors import EngineActor
from jobs.cluster.connect import connected
from jobs.cluster.engine_restart import RemoteEngine
from jobs.cluster.fleet import RayFleet
from jobs.cluster.remote import RemoteScorer
from jobs.cluster.reward_actor import RewardActor
from jobs.recipes import read_recipe
from rewards.scorer import RewardSpec, Scorer
from rlpeft.build import read_decks
from rlpeft.models.base import BaseModel
from rlpeft.rollout.engine import Together
from rlpeft.rollout.fake import FakeEngine
from rlpeft.training.collect import GroupSource
from rlpeft.types import FinishReason, Request, Sampling

LEAST_VLLM, LEAST_HF, MOST_TIME = 0.90, 0.95, 1.10
GENERATION_S, SPREAD = 10.0, 0.5
"""Of the longest answer, and the deviation of the logarithm of an answer's length."""

GROUPS, MEMBERS, WORKERS = 8, 8, 4


class Simulated(FakeEngine):
    """Answers that take their time, and no processor.

    Args:
        seconds: of the longest answer.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(lambda request, seed: ((7,), (-0.5,), "7", FinishReason.STOP))
        self.seconds = seconds

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Together]:
        """Each request once its longest answer has had its time."""
        started, whole = time.monotonic(), self.rollout(requests, sampling)
        lengths = [max(map(_length, request.seeds)) for request in requests]
        for place in sorted(range(len(requests)), key=lengths.__getitem__):
            due = started + self.seconds * lengths[place] / max(lengths)
            time.sleep(max(0.0, due - time.monotonic()))
            yield {place: whole[place]}


def _length(seed: int) -> float:
    return random.Random(seed).lognormvariate(0.0, SPREAD)


def rows(*, model: str) -> Iterator[BenchRow]:
    """Completions per second in vLLM and in the hf engine, and the step of a slow reward."""
    on_vllm = read_recipe("quickstart", ["rollout.engine=vllm"])
    yield pipeline.row(on_vllm, 15, goal=LEAST_VLLM)
    on_hf = read_recipe("smollm2-arithmetic", [f"model.name={model}"])
    yield pipeline.row(on_hf, 5, goal=LEAST_HF)
    yield slow_reward_row()


def slow_reward_row(repeats: int = 3) -> BenchRow:
    """A step whose reward takes its time against one whose reward takes none."""
    with connected("local"), ExitStack() as ends:
        spawn = elsewhere(EngineActor, partial(Simulated, GENERATION_S), 1)
        engine = RemoteEngine("engine 0", spawn, timeout_s=60.0)
        fleet = ends.enter_context(closing(RayFleet([engine], rows_a_call=GROUPS * MEMBERS)))
        fleet.ready()
        sides = {name: _step(fleet, ends.enter_context(_scorer(name))) for name in ("slow", "free")}
        found = medians(interleave(sides, repeats=repeats))
    ratio, rewards_s = found["slow"] / found["free"], SECONDS_A_ROW * GROUPS * MEMBERS / WORKERS
    return BenchRow(
        figure=f"a step whose reward takes {SECONDS_A_ROW} s a row ({GROUPS} x {MEMBERS} answers "
        f"of unequal lengths, simulated; {WORKERS} workers: {rewards_s:.1f} s), against a free one",
        ours=found["slow"],
        peer=found["free"],
        ratio=ratio,
        unit="s",
        floor=f"{1 + rewards_s / GENERATION_S:.2f} x where rewards wait for the last answer",
        goal=f"<= {MOST_TIME} x",
        met=ratio <= MOST_TIME,
    )


def elsewhere(actor: type, *arguments: Any) -> Callable[[], Any]:
    """A maker of actors that wait more than they work."""
    import ray

    return partial(ray.remote(actor).options(num_cpus=0).remote, *arguments)


def _scorer(name: str) -> Any:
    build = partial(Scorer, [RewardSpec(f"jobs.bench.slow_reward:{name}")], error_limit=1.0)
    spawn = elsewhere(RewardActor, build)
    return closing(RemoteScorer([spawn() for _ in range(WORKERS)], error_limit=0.1))


def _step(fleet: RayFleet, scorer: RemoteScorer) -> Callable[[], Any]:
    size = [f"train.prompts_per_step={GROUPS}", f"train.group_size={MEMBERS}"]
    recipe = read_recipe("quickstart", size)
    data = read_decks(recipe, BaseModel.open(recipe.model.name))
    source = GroupSource(
        decks=data.decks,
        fleet=fleet,
        scorer=scorer,
        train=recipe.train,
        sampling=recipe.rollout.sampling,
        prompter=data.first.prompter,
    )
    return partial(source.collect, cursor=0, step=1)
