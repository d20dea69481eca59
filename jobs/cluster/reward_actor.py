"""The reward worker of a run: a plain class, in a process without torch."""

from __future__ import annotations

from collections.abc import Callable

from rewards.dialects import Rollouts
from rewards.golds import GoldRule
from rewards.scorer import ScoredBatch, Scorer
from rlpeft.terminal import note


class RewardActor:
    """One reward worker: a scorer on a node and a GPU of its own.

    Consumes completions. Waits for the driver alone. Produces verdicts. The user's own rewards
    live in a child process of it, which sees the actor's GPUs and no others.
    """

    def __init__(self, build: Callable[[], Scorer]) -> None:
        import ray

        if ray.get_runtime_context().was_current_actor_reconstructed:
            note("a reward worker died and is started anew")
        self.scorer = build()

    def score(self, rollouts: Rollouts) -> ScoredBatch:
        """See `Scorer.score`."""
        return self.scorer.score(rollouts)

    def needs(self) -> tuple[frozenset[str], list[GoldRule]]:
        """See `rlpeft.scoring.Needs`."""
        return self.scorer.required_columns, self.scorer.gold_rules
