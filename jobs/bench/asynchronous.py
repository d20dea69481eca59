"""What it gains that engines generate ahead of the learner: a step in turn against one ahead.

Both are the real loop, with all that it records and keeps. Once with an engine and a learner that
only wait, so that nothing but the loop is measured; once with real ones, a core each. Their bound
is what both take, divided by what the slower of them takes, each beside a neighbour that is busy.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch

from jobs.bench.rows import BenchRow
from jobs.bench.streaming import Simulated, elsewhere
from jobs.cluster.actors import EngineActor
from jobs.cluster.connect import connected
from jobs.cluster.engine_restart import RemoteEngine
from jobs.cluster.fleet import RayFleet
from jobs.cluster.parts import on_ray
from jobs.recipes import read_recipe
from rewards.dialects import Rollouts
from rewards.scorer import ScoredBatch
from rewards.verdict import Verdict, VerdictKind
from rlpeft.adapter_state import AdapterState
from rlpeft.build import build_canary, build_card, read_decks
from rlpeft.errors import ConfigError
from rlpeft.models.base import BaseModel
from rlpeft.recipe.run import Recipe
from rlpeft.rollout.groups import unheard
from rlpeft.rollout.proof import Proof
from rlpeft.training.advantage import with_advantages
from rlpeft.training.collect import to_samples
from rlpeft.training.loop import Progress, Run, rollouts_of, train

LEAST_SIMULATED, LEAST_REAL = 0.95, 0.85
"""Of the bound."""

SECONDS, STEPS = 2.0, 8
"""Of a simulated step, generating and learning alike; steps of one side."""

REAL_STEPS, REPEATS = 3, 7
LEARNER_CORE, ENGINE_CORE = 0, 1
WARM_UP = 2
"""Steps of each run that are not counted: before engines and learner work side by side."""


class IdleLearner:
    """A learner that takes its time, and no processor; fulfils `Learner` as far as the loop goes.

    Args:
        seconds: of a step.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.num_steps = seconds, 0

    def step(self, samples: Sequence[Any]) -> dict[str, float]:
        """Wait."""
        time.sleep(self.seconds)
        self.num_steps += 1
        return {}

    def adapter_state(self) -> AdapterState:
        """Some numbers."""
        return AdapterState({"peft_type": "SVF"}, {"z": torch.ones(1)}, self.num_steps)

    def proof(self, canary: Sequence[Sequence[int]], bound: float) -> Proof:
        """What a `FakeEngine` agrees with."""
        sure = [[0.0] * (len(row) - 1) for row in canary]
        return Proof(self.adapter_state(), canary, sure, bound)

    def state_dict(self) -> dict[str, Any]:
        """Nothing to go on from."""
        return {}


class Coin:
    """Rewards that cost nothing and teach something, whatever was said."""

    def score(self, rollouts: Rollouts) -> ScoredBatch:
        """Right or wrong in turn."""
        verdicts = [
            Verdict(1.0, VerdictKind.CORRECT) if at % 2 else Verdict(0.0, VerdictKind.WRONG)
            for at in range(len(rollouts.completions))
        ]
        return ScoredBatch(verdicts, {"coin": verdicts}, {}, {})


class Unrecorded:
    """A recorder that keeps nothing."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Nothing."""

    def completions(self, step: int, groups: Sequence[Any]) -> None:
        """Nothing."""

    def rewind(self, step: int) -> None:
        """Nothing."""


class Endless(BaseModel):
    """A base model whose answers end at their limit alone: every step has as many tokens."""

    eos_ids = frozenset()

    @property
    def elsewhere(self) -> Any:
        """As of any other."""
        return partial(Endless.open, self.name)


def rows(*, model: str) -> Iterator[BenchRow]:
    """Both figures; the real one where there are two cores."""
    yield simulated_row()
    yield real_row(model)


def simulated_row(seconds: float = SECONDS, steps: int = STEPS) -> BenchRow:
    """An engine and a learner that only wait, as long as each other."""
    recipe = sized("quickstart", steps, "train.prompts_per_step=8", "train.group_size=8")
    with connected("local"):
        spawn = elsewhere(EngineActor, partial(Simulated, seconds), 1)
        engine = RemoteEngine("engine 0", spawn, timeout_s=60.0)
        with closing(RayFleet([engine], rows_a_call=64)) as fleet:
            fleet.ready()
            base = BaseModel.open(recipe.model.name)
            found = [
                median(step_times(recipe, lag, base, IdleLearner(seconds), fleet)) for lag in (0, 1)
            ]
    return row(
        "simulated, answers of log-normal lengths", found, (seconds, seconds), LEAST_SIMULATED
    )


def real_row(model: str, repeats: int = REPEATS) -> BenchRow:
    """Real ones, a core each, in turn; then each beside a busy neighbour."""
    if not {LEARNER_CORE, ENGINE_CORE} <= os.sched_getaffinity(0):
        raise ConfigError("this bench needs cores 0 and 1, one for the learner, one for an engine.")
    size = ("train.prompts_per_step=4", "rollout.max_tokens=16", "rollout.stop=[]")
    recipe = sized("smollm2-arithmetic", REAL_STEPS + WARM_UP, f"model.name={model}", *size)
    base = Endless.open(model)
    sides: list[list[float]] = [[], []]
    alone: list[tuple[float, float]] = []
    with on_ray("local").open(recipe, base, None) as parts:
        _pin("ray::LearnerAct", LEARNER_CORE)
        _pin("ray::EngineAct", ENGINE_CORE)
        begun = parts.learner.state_dict()
        for _ in range(repeats):
            for lag, side in enumerate(sides):
                parts.learner.load_state_dict(begun)
                side += step_times(recipe, lag, base, parts.learner, parts.fleet)
            parts.learner.load_state_dict(begun)
            alone.append(_beside_busy(_run(recipe, base, parts.learner, parts.fleet, Path())))
    generate, learn = (median(seconds) for seconds in zip(*alone, strict=True))
    found = [median(side) for side in sides]
    return row(f"{model}, a core each", found, (generate, learn), LEAST_REAL)


def row(what: str, found: Sequence[float], each: tuple[float, float], share: float) -> BenchRow:
    """A figure.

    Args:
        found: seconds of a step in turn and of one ahead.
        each: seconds of generating and of learning.
        share: of the bound that must be reached.
    """
    in_turn, ahead = found
    ratio, bound = in_turn / ahead, sum(each) / max(each)
    return BenchRow(
        figure=f"a step with rollout.max_lag = 1 against one in turn ({what}; generating "
        f"{each[0]:.2f} s, learning {each[1]:.2f} s)",
        ours=ahead,
        peer=in_turn,
        ratio=ratio,
        unit="s",
        floor=f"{bound:.2f} x: both over the slower",
        goal=f">= {share * bound:.2f} x faster",
        met=ratio >= share * bound,
    )


def sized(name: str, steps: int, *changes: str) -> Recipe:
    """A recipe of so many steps, validated at its start and its end alone."""
    length = [f"train.steps={steps}", f"train.eval_every={steps}", "task.num_validation=8"]
    return read_recipe(name, [*length, "train.report_to=[]", *changes])


def _run(recipe: Recipe, base: BaseModel, learner: Any, fleet: Any, folder: Path) -> Run:
    data = read_decks(recipe, base)
    return Run(
        recipe=recipe,
        folder=folder,
        decks=data.decks,
        learner=learner,
        fleet=fleet,
        scorer=Coin(),
        prompter=data.first.prompter,
        sampling=recipe.rollout.sampling,
        recorder=Unrecorded(),
        card=build_card(recipe, base),
        canary=build_canary(data.first.task, data.first.prompter),
    )


def step_times(recipe: Recipe, lag: int, base: BaseModel, learner: Any, fleet: Any) -> list[float]:
    """Seconds of each step of a run, without the first ones and the last, which is validated."""
    rollout = recipe.rollout.model_copy(update={"max_lag": lag})
    with TemporaryDirectory() as folder:
        lagged = recipe.model_copy(update={"rollout": rollout})
        each = [found for _, found in train(_run(lagged, base, learner, fleet, Path(folder)))]
    return [found["step_time"] for found in each[1 + WARM_UP : -1]]


def _beside_busy(run: Run) -> tuple[float, float]:
    """Seconds of generating, and of learning, a step while the other core spins."""
    in_turn = rollouts_of(run, Progress(), unheard)
    in_turn.sync()
    with _busy(LEARNER_CORE):
        started = time.perf_counter()
        groups = in_turn.take(1, 0).evidence.scored.groups
        generate = time.perf_counter() - started
    taught = with_advantages(groups, run.recipe.loss.advantage, mask_truncated=False)
    with _busy(ENGINE_CORE):
        started = time.perf_counter()
        run.learner.step(to_samples(taught))
        return generate, time.perf_counter() - started


@contextmanager
def _busy(core: int) -> Iterator[None]:
    """A process that keeps a core busy."""
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(spinning.pid, {core})
        yield
    finally:
        spinning.kill()
        spinning.wait()


def _pin(name: str, core: int) -> None:
    """Keep the actors of a name, threads and all, on one core."""
    found = [p for p in psutil.Process().children(recursive=True) if p.name().startswith(name)]
    assert found, f"no process {name!r}"
    for process in found:
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {core})
