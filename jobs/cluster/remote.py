"""The driver's side of the learner and of the reward workers: the same verbs, elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import Any

from jobs.cluster.connect import ActorLostError, fetch, send
from rewards.dialects import Rollouts
from rewards.golds import GoldRule
from rewards.scorer import ScoredBatch, check_failures
from rlpeft.adapter_state import AdapterState
from rlpeft.errors import ClusterError
from rlpeft.training.packing import Sample


class RemoteLearner:
    """Fulfils what the trainer needs of `rlpeft.training.learner.Learner`, with one in an actor.

    A learner that dies ends the run: the checkpoint of the last step has all it knew.

    Args:
        actor: handle of a `LearnerActor`; it begins to start here.
    """

    def __init__(self, actor: Any) -> None:
        self._actor, self._started = actor, actor.start.remote()

    def ready(self) -> None:
        """Wait until the learner is built.

        Raises:
            RlpeftError: it cannot be.
        """
        self._wait(self._started)

    def step(self, samples: Sequence[Sample]) -> dict[str, float]:
        """One optimizer step on a batch."""
        return self._call("step", samples)

    def adapter_state(self) -> AdapterState:
        """The adapter as it is now."""
        return self._call("adapter_state")

    def load_adapter(self, state: AdapterState) -> None:
        """Take over another adapter's values."""
        self._call("load_adapter", state)

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-prob of each token after the first."""
        return self._call("logprobs", sequences)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next step."""
        return self._call("state_dict")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._call("load_state_dict", state)

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._wait(send(getattr(self._actor, method), *arguments))

    def _wait(self, answer: Any) -> Any:
        try:
            return fetch(answer)
        except ActorLostError as error:
            raise ClusterError(
                f"the learner must stay alive, it is gone: {error}. Look at memory and at Ray's "
                "logs on its node; the run continues from its last checkpoint when started again."
            ) from error


class RemoteScorer:
    """Fulfils `rlpeft.scoring.Scores`: rows shared out over workers, order kept.

    Args:
        workers: handles of `RewardActor`, whose own limit of failures is 1: the limit of a run is
            a share of the whole batch, which no worker sees.
        error_limit: that limit.
    """

    def __init__(self, workers: Sequence[Any], *, error_limit: float) -> None:
        self._workers, self._error_limit = workers, error_limit

    def score(self, rollouts: Rollouts) -> ScoredBatch:
        """Score N completions; see `rewards.scorer.Scorer.score`."""
        parts = slices(len(rollouts.completions), len(self._workers))
        batches = zip(self._workers, parts, strict=False)
        started = [send(worker.score, cut(rollouts, part)) for worker, part in batches]
        scored = joined([self._result(reference) for reference in started])
        check_failures(scored.by_reward, rollouts, limit=self._error_limit)
        return scored

    @property
    def required_columns(self) -> frozenset[str]:
        """Dataset columns without which `score` raises."""
        return self._result(send(self._workers[0].needs))[0]

    @property
    def gold_rules(self) -> list[GoldRule]:
        """What the gold answers of each reward that has some may be."""
        return self._result(send(self._workers[0].needs))[1]

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
    )


def joined(parts: Sequence[ScoredBatch]) -> ScoredBatch:
    """Parts put together in their order; a metric is the mean of the parts' values.

    A column recorded in some parts only is `None` in the rows of the others.
    """
    columns = sorted({name for part in parts for name in part.columns})
    metrics = sorted({name for part in parts for name in part.metrics})
    return ScoredBatch(
        [verdict for part in parts for verdict in part.verdicts],
        {name: [v for p in parts for v in p.by_reward[name]] for name in parts[0].by_reward},
        {name: [v for p in parts for v in _column(p, name)] for name in columns},
        {name: fmean(p.metrics[name] for p in parts if name in p.metrics) for name in metrics},
    )


def _column(part: ScoredBatch, name: str) -> list[object]:
    return part.columns.get(name, [None] * len(part.verdicts))
