"""The reward worker of a run: a plain class, in a process without torch."""

from __future__ import annotations

from collections.abc import Callable

from rewards.dialects import Rollouts
from rewards.scorer import ScoredBatch
from rlpeft.recipe.scorer import Scorers
from rlpeft.scoring import Needed
from rlpeft.terminal import note


class RewardActor:
    """One reward worker: a scorer on a node and a GPU of its own.

    Consumes completions. Waits for the driver alone. Produces verdicts. The user's own rewards
    live in a child process of it, which sees the actor's GPUs and no others.
    """

    def __init__(self, build: Callable[[], Scorers]) -> None:
        import ray

        if ray.get_runtime_context().was_current_actor_reconstructed:
            note("a reward worker died and is started anew")
        self.scorer = build()

    def score(self, rollouts: Rollouts) -> ScoredBatch:
        """See `Scorers.score`."""
        return self.scorer.score(rollouts)

    def needs(self, task: str) -> Needed:
        """What the rewards of a task need."""
        own = self.scorer.of(task)
        return Needed(own.required_columns, own.gold_rules)
