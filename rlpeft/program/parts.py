"""The parts of a run, in this process or wherever else they live, and their clean end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from rlpeft.build import build_conversations, build_engine, build_learner
from rlpeft.doctor.memory import learner_bytes
from rlpeft.errors import ConfigError
from rlpeft.models.base import BaseModel
from rlpeft.models.device import require_gpu
from rlpeft.program.threads import num_threads
from rlpeft.recipe.reward import rewards_twice
from rlpeft.recipe.run import EngineSpec, Recipe
from rlpeft.recipe.scorer import Functions, Scorers, build_scorers
from rlpeft.rollout.conversation import Conversations
from rlpeft.rollout.fleet import LocalFleet, PolicyFleet
from rlpeft.scoring import LoadedScores
from rlpeft.terminal import note
from rlpeft.training.protocol import Learner

if TYPE_CHECKING:
    from rlpeft.training.learner import LocalLearner

SMALLEST_SHARE = 0.1
"""Of a GPU's memory; with less, an engine would hold no more than a few sequences."""


@dataclass(frozen=True)
class Parts:
    """What a cluster holds in actors and a single process in objects."""

    learner: Learner
    fleet: PolicyFleet
    scorer: LoadedScores
    conversations: Conversations | None = None


OpenParts = Callable[[Recipe, BaseModel, Scorers | None], AbstractContextManager[Parts]]


@dataclass(frozen=True)
class Venue:
    """Where the parts of a run live: `HERE`, or the actors that `jobs.cluster.parts` starts.

    Attributes:
        open: builds them of a recipe and its base, of which actors open their own; and of its
            rewards, if they are loaded already, which are not closed there. They end with the
            context. It raises, on entering, `RlpeftError`: the recipe, the model or the cluster
            cannot do it.
        has_reward_actors: whether `resources.reward_workers` counts there.
        functions: rewards that run in this process, whatever lives elsewhere.
    """

    open: OpenParts
    has_reward_actors: bool
    functions: Functions = field(default_factory=dict)


@contextmanager
def loaded_scorer(
    recipe: Recipe, venue: Venue, *, check: Callable[[LoadedScores], None]
) -> Iterator[Scorers | None]:
    """The recipe's rewards, loaded once and checked before any model is loaded.

    `None` where they ask for a GPU that only their actors will have: check those.
    """
    actors = recipe.resources.reward_workers if venue.has_reward_actors else 0
    if actors and recipe.resources.reward_gpus:
        yield None
        return
    with closing(_scorer(recipe, venue.functions)) as scorer:
        check(scorer)
        if actors:
            scorer.close()  # what it loaded would lie beside the actors for the whole run
        yield scorer


@contextmanager
def local_parts(recipe: Recipe, base: BaseModel, scorer: Scorers | None = None) -> Iterator[Parts]:
    """Everything in this process, with as many threads as an actor would have.

    Only ranks of the learner beyond the first have processes of their own. On a GPU where there is
    one: learner and engine share it.
    """
    with (
        own_threads(recipe),
        scorer_here(recipe, scorer) as here,
        conversations_here(recipe, base) as conversations,
    ):
        learner = build_learner(recipe, base)
        spec = beside(recipe, learner) if learner.device.type == "cuda" else recipe.engine
        alone = recipe.resources.learners == 1
        with (
            nullcontext(learner) if alone else _with_ranks(recipe, base, learner) as shared,
            closing(LocalFleet(build_engine(spec, base))) as fleet,
        ):
            yield Parts(shared, fleet, here, conversations)


@contextmanager
def own_threads(recipe: Recipe) -> Iterator[None]:
    """What learner and engine need of this process, and have while the context lasts."""
    require_gpu(recipe.resources.learner_gpus, "resources.learner_gpus")
    require_gpu(recipe.resources.engine_gpus, "resources.engine_gpus")
    if (asked := recipe.rollout.num_engines) > 1:
        note(f"one engine in this process; rollout.num_engines = {asked} is for Ray")
    cpus = max(recipe.resources.learner_cpus, recipe.resources.engine_cpus)
    with torch_threads(num_threads(cpus)):
        yield


HERE = Venue(local_parts, has_reward_actors=False)
"""This process."""


def _with_ranks(
    recipe: Recipe, base: BaseModel, learner: LocalLearner
) -> AbstractContextManager[Learner]:
    from rlpeft.program.launched import several

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


@contextmanager
def conversations_here(recipe: Recipe, base: BaseModel) -> Iterator[Conversations | None]:
    """The recipe's environment, in a process of its own; `None` where it has none.

    Raises:
        RewardError: it cannot be loaded.
    """
    if recipe.environment is None:
        yield None
        return
    with closing(build_conversations(recipe, recipe.environment, base)) as conversations:
        yield conversations


def scorer_here(recipe: Recipe, scorer: Scorers | None) -> AbstractContextManager[Scorers]:
    """The rewards in this process: those that are loaded already, or the recipe's for a while."""
    return closing(_scorer(recipe)) if scorer is None else nullcontext(scorer)


def _scorer(recipe: Recipe, functions: Functions | None = None) -> Scorers:
    for own in recipe.alone.values():
        if twice := rewards_twice(own.rewards):
            note(f"rewards list {twice} with equal options: they count with all their weights.")
    return build_scorers(recipe, error_limit=recipe.train.error_limit, functions=functions)


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch use this many threads, and then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
