"""A run's learner in actors: one, or several that are the ranks of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ray

from jobs.cluster.actors import LearnerActor
from jobs.cluster.connect import ActorLostError, fetch, place
from jobs.cluster.liveness import end_without_raylet
from jobs.cluster.remote import Remote
from rlpeft.build import build_learner
from rlpeft.errors import ClusterError, RlpeftError
from rlpeft.models.base import BaseModel
from rlpeft.models.device import require_gpu
from rlpeft.program.threads import num_threads
from rlpeft.program.together import build_learners
from rlpeft.recipe.run import Recipe, ResourceConfig
from rlpeft.training.learner import LocalLearner
from rlpeft.training.protocol import Learner
from rlpeft.training.shared import SharedLearner, SharedPolicy

LAST_WORDS_S = 5.0
"""How long to wait for what Ray says of a rank that answers no more."""


class RemoteLearner(Remote):
    """The driver's side of a learner: it speaks to the first rank and watches the others.

    Args:
        actors: handles of `LearnerActor`, in the order of their ranks; they begin to start here.
        timeout_s: how long ranks wait for one another within a step.
    """

    def __init__(self, actors: Sequence[Any], *, timeout_s: float) -> None:
        super().__init__(Learner, actors[0], "the learner")
        self._actors, self._timeout_s = actors, timeout_s
        # They wait for the first one's factors, so that each is computed once.
        self._starting = [actor.start.remote(self.started) for actor in actors[1:]]
        self._following: list[Any] = []

    def ready(self) -> None:
        """Wait until every rank is built and they have met.

        Raises:
            RlpeftError: one cannot be.
        """
        super().ready()
        for starting in self._starting:
            self._wait(starting)
        if self._starting:
            url = self._wait(self._actor.free_place.remote())
            place_of = partial(self._join, url)
            first, *self._following = [place_of(rank) for rank in range(len(self._actors))]
            self._wait(first)

    def _join(self, url: str, rank: int) -> Any:
        actor, size = self._actors[rank], len(self._actors)
        return actor.join.remote(url, rank, size, self._timeout_s)

    def _wait(self, answer: Any) -> Any:
        if not self._following:
            return super()._wait(answer)
        end_without_raylet()
        # Those who follow do so until they are lost.
        first_done, _ = ray.wait([answer, *self._following])
        try:
            return super()._wait(first_done[0])
        except ClusterError as error:
            raise self._named(answer, error) from error

    def _named(self, answer: Any, error: ClusterError) -> ClusterError:
        """The error, by the rank that is gone where one is: the others only miss it."""
        for rank, reference in enumerate([answer, *self._following]):
            try:
                fetch(reference, timeout_s=LAST_WORDS_S)
            except ActorLostError as lost:
                if ray.wait([reference], timeout=0)[0]:
                    return ClusterError(
                        f"rank {rank} of the learner must stay alive, it is gone: {lost}. Look at "
                        "memory and at Ray's logs on its node; the run continues from its last "
                        "checkpoint when started again."
                    )
            except RlpeftError:
                continue
        return error


def remote_learner(recipe: Recipe, base: BaseModel, group: Any) -> RemoteLearner:
    """A recipe's learner in actors that are being placed, from bundle 0 on."""
    build = partial(_open_learner, recipe, base.elsewhere)
    ranks = range(recipe.resources.learners)
    actors = [_placed(build, recipe.resources, group, rank) for rank in ranks]
    return RemoteLearner(actors, timeout_s=recipe.resources.learner_timeout_s)


def remote_learners(recipes: Mapping[str, Recipe], base: BaseModel, group: Any) -> Remote:
    """Those of experts that train together, in one actor: a `SharedLearner`, elsewhere."""
    first = next(iter(recipes.values()))
    build = partial(_open_learners, recipes, base.elsewhere)
    return Remote(SharedLearner, _placed(build, first.resources, group, 0), "the learner")


def _placed(build: Callable[[], Any], resources: ResourceConfig, group: Any, bundle: int) -> Any:
    threads = num_threads(resources.learner_cpus)
    return place(LearnerActor, group, bundle, threads=threads).remote(build, threads)


def _open_learner(recipe: Recipe, open_base: Callable[[], BaseModel]) -> LocalLearner:
    """In the learner's actor, which finds the base model on its own machine."""
    require_gpu(recipe.resources.learner_gpus, "resources.learner_gpus")
    return build_learner(recipe, open_base())


def _open_learners(
    recipes: Mapping[str, Recipe], open_base: Callable[[], BaseModel]
) -> SharedPolicy:
    first = next(iter(recipes.values()))
    require_gpu(first.resources.learner_gpus, "resources.learner_gpus")
    return build_learners(recipes, open_base())
