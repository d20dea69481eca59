"""The driver's side of what lives in actors: the same verbs, elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

import ray

from jobs.cluster.connect import ActorLostError, fetch, send
from rewards.dialects import Rollouts
from rewards.scorer import ScoredBatch, check_failures
from rlpeft.errors import ClusterError
from rlpeft.scoring import Needed, joined


class Remote:
    """The driver's side of an object in an actor: the methods of a protocol, each done there.

    An actor that dies ends the run: the checkpoint of the last step has all it knew.

    Attributes:
        started: reference to what the actor's `start` gives.

    Args:
        protocol: whose methods it has.
        actor: handle of a `jobs.cluster.actors.Actor`; it begins to start here.
        name: names the object in errors.
    """

    def __init__(self, protocol: type, actor: Any, name: str) -> None:
        self._methods, self._name = methods_of(protocol), name
        self._actor, self.started = actor, actor.start.remote()

    def ready(self) -> None:
        """Wait until the object is built.

        Raises:
            RlpeftError: it cannot be.
        """
        self._wait(self.started)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method not in self._methods:
            raise AttributeError(f"{self._name} has no method {method!r} that is known here.")
        return partial(self._call, method)

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._wait(send(self._actor.call, method, *arguments))

    def _wait(self, answer: Any) -> Any:
        try:
            return fetch(answer)
        except ActorLostError as error:
            raise ClusterError(
                f"{self._name} must stay alive, it is gone: {error}. Look at memory and at Ray's "
                "logs on its node; the run continues from its last checkpoint when started again."
            ) from error


def methods_of(protocol: type) -> frozenset[str]:
    """Names of a protocol's methods, those of its bases included."""
    return frozenset(name for name in dir(protocol) if not name.startswith("_"))


class RemoteScorer:
    """Fulfils `LoadedScores` and `ScoresParts` of `rlpeft.scoring`: workers share rows, order kept.

    A worker that is free takes what comes next.

    Args:
        workers: handles of `RewardActor`, whose own limit of failures is 1: the limit of a run is
            a share of the whole batch, which no worker sees.
        error_limit: that limit.
    """

    def __init__(self, workers: Sequence[Any], *, error_limit: float) -> None:
        self._workers, self._error_limit = workers, error_limit
        self._free: SimpleQueue[Any] = SimpleQueue()
        for worker in workers:
            self._free.put(worker)
        self._threads = ThreadPoolExecutor(len(workers))

    def score(self, rollouts: Rollouts) -> ScoredBatch:
        """Score N completions; see `rewards.scorer.Scorer.score`."""
        scored = self.begin(rollouts)()
        self.judge(scored, rollouts)
        return scored

    def begin(self, rollouts: Rollouts) -> Callable[[], ScoredBatch]:
        """Have rows scored, by as many workers as there are; what comes waits for them."""
        parts = slices(len(rollouts.completions), len(self._workers))
        begun = [self._threads.submit(self._scored, cut(rollouts, part)) for part in parts]
        return lambda: joined([part.result() for part in begun])

    def judge(self, scored: ScoredBatch, rollouts: Rollouts) -> None:
        """Look at the share of failures in a whole batch; see `check_failures`."""
        check_failures(scored.by_reward, rollouts, limit=self._error_limit)

    def close(self) -> None:
        """End the workers, and whoever waits for them."""
        for worker in self._workers:
            ray.kill(worker)
        self._threads.shutdown(cancel_futures=True)

    def of(self, task: str) -> Needed:
        """What the rewards of a task need."""
        found: Needed = self._result(send(self._workers[0].needs, task))
        return found

    def _scored(self, rollouts: Rollouts) -> Any:
        worker = self._free.get()
        try:
            return self._result(send(worker.score, rollouts))
        finally:
            self._free.put(worker)

    def _result(self, reference: Any) -> Any:
        try:
            return fetch(reference)
        except ActorLostError as error:
            raise ClusterError(
                f"reward workers must stay alive, one was lost again and again: {error}. Look at "
                "the memory its verifiers take and at Ray's logs on its node."
            ) from error


def slices(num_rows: int, num_parts: int) -> list[slice]:
    """Contiguous parts of nearly equal size, at least one, none empty unless there are no rows."""
    num_parts = max(1, min(num_parts, num_rows))
    edges = [num_rows * part // num_parts for part in range(num_parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def cut(rollouts: Rollouts, rows: slice) -> Rollouts:
    """Some rows of a batch."""
    return replace(
        rollouts,
        prompts=rollouts.prompts[rows],
        completions=rollouts.completions[rows],
        completion_ids=rollouts.completion_ids[rows],
        truncated=rollouts.truncated[rows],
        columns={name: values[rows] for name, values in rollouts.columns.items()},
        prompt_ends=rollouts.prompt_ends[rows],
        outcomes=rollouts.outcomes[rows],
    )
