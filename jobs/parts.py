"""The parts of a run, in this process or in the actors of a cluster, and their clean end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch

from jobs.cluster.threads import num_threads
from rlpeft.build import build_engine, build_learner
from rlpeft.doctor.memory import learner_bytes
from rlpeft.errors import ConfigError
from rlpeft.models.base import BaseModel
from rlpeft.models.device import require_gpu
from rlpeft.recipe.run import EngineSpec, Recipe
from rlpeft.recipe.scorer import Scorers, build_scorers
from rlpeft.rollout.fleet import LocalFleet, PolicyFleet
from rlpeft.scoring import LoadedScores
from rlpeft.terminal import note
from rlpeft.training.protocol import Learner

if TYPE_CHECKING:
    from rlpeft.training.learner import LocalLearner

SMALLEST_SHARE = 0.1
"""Of a GPU's memory; with less, an engine would hold no more than a few sequences."""

REWARD_RETRIES = 3
"""How often a lost reward worker is started anew with the same rows."""


@dataclass(frozen=True)
class Parts:
    """What a cluster holds in actors and a single process in objects."""

    learner: Learner
    fleet: PolicyFleet
    scorer: LoadedScores


@contextmanager
def loaded_scorer(
    recipe: Recipe, *, ray: bool, check: Callable[[LoadedScores], None]
) -> Iterator[Scorers | None]:
    """The recipe's rewards, loaded once and checked before any model is loaded.

    `None` where they ask for a GPU that only their actors will have: check those.
    """
    actors = recipe.resources.reward_workers if ray else 0
    if actors and recipe.resources.reward_gpus:
        yield None
        return
    with closing(_scorer(recipe)) as scorer:
        check(scorer)
        if actors:
            scorer.close()  # what it loaded would lie beside the actors for the whole run
        yield scorer


def open_parts(
    recipe: Recipe,
    base: BaseModel,
    *,
    ray: bool,
    address: str | None,
    scorer: Scorers | None = None,
) -> AbstractContextManager[Parts]:
    """Build the parts; they end with the context.

    Args:
        base: the recipe's; actors open their own.
        scorer: the rewards, if they are loaded already; it is not closed here.

    Raises (on entering):
        RlpeftError: the recipe, the model or the cluster cannot do it.
    """
    return ray_parts(recipe, base, address, scorer) if ray else local_parts(recipe, base, scorer)


@contextmanager
def local_parts(recipe: Recipe, base: BaseModel, scorer: Scorers | None = None) -> Iterator[Parts]:
    """Everything in this process, with as many threads as an actor would have.

    Only ranks of the learner beyond the first have processes of their own. On a GPU where there is
    one: learner and engine share it.
    """
    require_gpu(recipe.resources.learner_gpus, "resources.learner_gpus")
    require_gpu(recipe.resources.engine_gpus, "resources.engine_gpus")
    if (asked := recipe.rollout.num_engines) > 1:
        note(f"one engine in this process; rollout.num_engines = {asked} is for Ray")
    cpus = max(recipe.resources.learner_cpus, recipe.resources.engine_cpus)
    with (
        torch_threads(num_threads(cpus)),
        _scorer_here(recipe, scorer) as here,
    ):
        learner = build_learner(recipe, base)
        spec = beside(recipe, learner) if learner.device.type == "cuda" else recipe.engine
        alone = recipe.resources.learners == 1
        with (
            nullcontext(learner) if alone else _with_ranks(recipe, base, learner) as shared,
            closing(LocalFleet(build_engine(spec, base))) as fleet,
        ):
            yield Parts(shared, fleet, here)


def _with_ranks(
    recipe: Recipe, base: BaseModel, learner: LocalLearner
) -> AbstractContextManager[Learner]:
    from jobs.cluster.launched import several

    return several(recipe, base, learner)


def beside(recipe: Recipe, learner: LocalLearner) -> EngineSpec:
    """The engine on the learner's GPU, in the memory that a step of the learner leaves.

    Raises:
        ConfigError: it leaves none.
    """
    total = torch.cuda.get_device_properties(learner.device).total_memory
    share = 1 - learner_bytes(recipe, learner) / total
    name = torch.cuda.get_device_name(learner.device)
    if share < SMALLEST_SHARE:
        raise ConfigError(
            f"learner and engine must fit {name} together, the learner alone takes about "
            f"{1 - share:.0%} of it. Lower learner.token_budget, set "
            "learner.gradient_checkpointing, or give the engine a GPU of its own, with Ray."
        )
    note(f"learner and engine share {name}, of which the engine may take {share:.0%}")
    return recipe.engine.with_gpu_share(share)


def _scorer_here(recipe: Recipe, scorer: Scorers | None) -> AbstractContextManager[Scorers]:
    return closing(_scorer(recipe)) if scorer is None else nullcontext(scorer)


def _scorer(recipe: Recipe) -> Scorers:
    return build_scorers(recipe, error_limit=recipe.train.error_limit)


@contextmanager
def ray_parts(
    recipe: Recipe, base: BaseModel, address: str | None, scorer: Scorers | None = None
) -> Iterator[Parts]:
    """Learner, engines and reward workers in actors; the driver is this process."""
    from jobs.cluster.connect import bundles_of, connected, reserved
    from jobs.cluster.engine_restart import remote_engines
    from jobs.cluster.fleet import RayFleet
    from jobs.cluster.learners import remote_learner

    bundles = bundles_of(recipe.resources, recipe.rollout.num_engines)
    timeout_s = recipe.resources.placement_timeout_s
    with connected(address), reserved(bundles, timeout_s=timeout_s) as group:
        learner, first = remote_learner(recipe, base, group), recipe.resources.learners
        fleet = RayFleet(
            remote_engines(
                recipe.engine,
                recipe.resources,
                group,
                first=first,
                learner=learner.started,
                open_base=base.elsewhere,
            ),
            rows_a_call=recipe.rollout.rows_a_call,
        )
        try:
            with _scores(recipe, group, scorer) as scores:
                learner.ready()
                fleet.ready()
                yield Parts(cast(Learner, learner), fleet, scores)
        finally:
            fleet.close()


def _scores(
    recipe: Recipe, group: Any, scorer: Scorers | None
) -> AbstractContextManager[LoadedScores]:
    from jobs.cluster.connect import place
    from jobs.cluster.remote import RemoteScorer
    from jobs.cluster.reward_actor import RewardActor

    first = recipe.resources.learners + recipe.rollout.num_engines
    number = recipe.resources.reward_workers
    if number == 0:
        return _scorer_here(recipe, scorer)
    retries = {"max_restarts": REWARD_RETRIES, "max_task_retries": REWARD_RETRIES}
    # One worker sees too few rows to judge the share of errors: `RemoteScorer` does.
    build = partial(build_scorers, recipe, error_limit=1.0)
    workers = [
        place(RewardActor, group, first + index, **retries).remote(build) for index in range(number)
    ]
    return closing(RemoteScorer(workers, error_limit=recipe.train.error_limit))


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch use this many threads, and then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
