"""The rewards of a recipe, apart from all that needs torch: a reward worker starts without it."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.scorer import RewardSpec, Scorer
from rlpeft.recipe.reward import RewardConfig


def build_scorer(rewards: Sequence[RewardConfig], *, error_limit: float = 0.1) -> Scorer:
    """All rewards of a recipe with their weights.

    Args:
        error_limit: as in `train.error_limit`, which has the same default.
    """
    specs = [
        RewardSpec(
            r.name,
            r.weight,
            r.options,
            r.correct_at,
            timeout_s=r.timeout_s,
            warmup_timeout_s=r.warmup_timeout_s,
        )
        for r in rewards
    ]
    return Scorer(specs, error_limit=error_limit)
