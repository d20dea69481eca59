"""The parts of a run in the actors of a Ray cluster, and their clean end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from rlpeft.models.base import BaseModel
from rlpeft.program.parts import Parts, Venue, conversations_here, scorer_here
from rlpeft.program.together import Shared, with_room
from rlpeft.recipe.run import Recipe
from rlpeft.recipe.scorer import Scorers, build_scorers
from rlpeft.scoring import LoadedScores
from rlpeft.terminal import note
from rlpeft.training.protocol import Learner
from rlpeft.training.shared import SharedLearner

if TYPE_CHECKING:
    from jobs.cluster.fleet import RayFleet
    from jobs.cluster.remote import Remote

REWARD_RETRIES = 3
"""How often a lost reward worker is started anew with the same rows."""

TELL_EACH_S = 30.0
"""On a free machine learner and engines open in less."""


def on_ray(address: str | None = None) -> Venue:
    """The actors of a cluster; without an address it is found or started as `connected` says."""
    return Venue(partial(ray_parts, address=address), has_reward_actors=True)


@contextmanager
def ray_parts(
    recipe: Recipe, base: BaseModel, scorer: Scorers | None = None, *, address: str | None = None
) -> Iterator[Parts]:
    """Learner, engines and reward workers in actors; the driver is this process."""
    from jobs.cluster.connect import bundles_of, connected, reserved
    from jobs.cluster.learners import remote_learner

    bundles = bundles_of(recipe.resources, recipe.rollout.num_engines)
    timeout_s = recipe.resources.placement_timeout_s
    with (
        conversations_here(recipe, base) as conversations,
        connected(address),
        reserved(bundles, timeout_s=timeout_s) as group,
    ):
        learner = remote_learner(recipe, base, group)
        with (
            closing(_fleet(recipe, base, group, learner)) as fleet,
            _scores(recipe, group, scorer) as scores,
        ):
            wait_for(learner, fleet)
            yield Parts(cast(Learner, learner), fleet, scores, conversations)


@contextmanager
def shared_on_ray(
    recipes: Mapping[str, Recipe], base: BaseModel, *, address: str | None = None
) -> Iterator[Shared]:
    """The actors of experts that train together; see `rlpeft.program.together`."""
    from jobs.cluster.connect import bundles_of, connected, reserved
    from jobs.cluster.learners import remote_learners

    roomy = with_room(recipes)
    bundles = bundles_of(roomy.resources, roomy.rollout.num_engines)
    timeout_s = roomy.resources.placement_timeout_s
    with connected(address), reserved(bundles, timeout_s=timeout_s) as group:
        learners = remote_learners(recipes, base, group)
        with closing(_fleet(roomy, base, group, learners)) as fleet:
            wait_for(learners, fleet)
            yield Shared(cast(SharedLearner, learners), fleet, are_elsewhere=True)


def wait_for(*parts: Any, interval_s: float = TELL_EACH_S) -> None:
    """Until learner and engines have loaded what they need; told of now and then."""
    is_over, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not is_over.wait(interval_s):
            waited_s = time.monotonic() - began
            note(f"learner and engines have been opening for {waited_s:.0f} s.")

    threading.Thread(target=tell, daemon=True).start()
    try:
        for part in parts:
            part.ready()
    finally:
        is_over.set()


def _fleet(recipe: Recipe, base: BaseModel, group: Any, learner: Remote) -> RayFleet:
    from jobs.cluster.engine_restart import remote_engines
    from jobs.cluster.fleet import RayFleet

    engines = remote_engines(
        recipe.engine,
        recipe.resources,
        group,
        first=recipe.resources.learners,
        learner=learner.started,
        open_base=base.elsewhere,
    )
    return RayFleet(engines, rows_a_call=recipe.rollout.rows_a_call)


def _scores(
    recipe: Recipe, group: Any, scorer: Scorers | None
) -> AbstractContextManager[LoadedScores]:
    from jobs.cluster.connect import place
    from jobs.cluster.remote import RemoteScorer
    from jobs.cluster.reward_actor import RewardActor

    first = recipe.resources.learners + recipe.rollout.num_engines
    number = recipe.resources.reward_workers
    if number == 0:
        return scorer_here(recipe, scorer)
    retries = {"max_restarts": REWARD_RETRIES, "max_task_retries": REWARD_RETRIES}
    # One worker sees too few rows to judge the share of errors: `RemoteScorer` does.
    build = partial(build_scorers, recipe, error_limit=1.0)
    workers = [
        place(RewardActor, group, first + index, **retries).remote(build) for index in range(number)
    ]
    return closing(RemoteScorer(workers, error_limit=recipe.train.error_limit))
