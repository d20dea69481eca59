"""The rewards of a recipe, apart from all that needs torch: a reward worker starts without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from threading import Lock
from typing import Any

from rewards.dialects import Rollouts
from rewards.scorer import RewardSpec, ScoredBatch, Scorer
from rlpeft.recipe.reward import RewardConfig
from rlpeft.recipe.run import Recipe


class Scorers:
    """The rewards of each task of a recipe, by its label; fulfils `rlpeft.scoring.LoadedScores`.

    Of several threads one is served after the other: the rewards of a task share a process.

    Args:
        by_task: they are closed with this.
    """

    def __init__(self, by_task: Mapping[str, Scorer]) -> None:
        self._by_task, self._turn = by_task, Lock()

    def score(self, rollouts: Rollouts) -> ScoredBatch:
        """See `rewards.scorer.Scorer.score`; by the rewards of the task that was answered."""
        with self._turn:
            return self._by_task[rollouts.task].score(rollouts)

    def of(self, task: str) -> Scorer:
        """Those of one task."""
        return self._by_task[task]

    def close(self) -> None:
        """End the processes of the user's own rewards. May be called twice."""
        for scorer in self._by_task.values():
            scorer.close()


Functions = Mapping[str, Callable[..., Any]]
"""Rewards that are functions of this process, by their names in the recipe."""


def build_scorers(
    recipe: Recipe, *, error_limit: float, functions: Functions | None = None
) -> Scorers:
    """The rewards of all tasks of a recipe; raises what `Scorer` does, and leaves no process then.

    Args:
        error_limit: as in `train.error_limit`.
        functions: those that are not looked up by their names.
    """
    with ExitStack() as opened:
        found = {
            label: opened.enter_context(
                closing(build_scorer(own.rewards, error_limit=error_limit, functions=functions))
            )
            for label, own in recipe.alone.items()
        }
        opened.pop_all()
    return Scorers(found)


def build_scorer(
    rewards: Sequence[RewardConfig], *, error_limit: float = 0.1, functions: Functions | None = None
) -> Scorer:
    """All rewards of a task with their weights.

    Args:
        error_limit: as in `train.error_limit`, which has the same default.
        functions: see `build_scorers`.
    """
    known = functions or {}
    specs = [replace(spec_of(reward), function=known.get(reward.name)) for reward in rewards]
    return Scorer(specs, error_limit=error_limit)


def spec_of(reward: RewardConfig) -> RewardSpec:
    """A `[[reward]]` as it is loaded."""
    return RewardSpec(
        reward.name,
        reward.weight,
        reward.options,
        reward.correct_at,
        timeout_s=reward.timeout_s,
        warmup_timeout_s=reward.warmup_timeout_s,
    )
