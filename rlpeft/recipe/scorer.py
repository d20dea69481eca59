"""The rewards of a recipe, apart from all that needs torch: a reward worker starts without it."""

from __future__ import annotations

from rewards.scorer import RewardSpec, Scorer
from rlpeft.recipe.run import Recipe


def build_scorer(recipe: Recipe) -> Scorer:
    """All rewards of the recipe with their weights."""
    specs = [
        RewardSpec(
            r.name,
            r.weight,
            r.options,
            r.correct_at,
            timeout_s=r.timeout_s,
            warmup_timeout_s=r.warmup_timeout_s,
        )
        for r in recipe.reward
    ]
    return Scorer(specs, error_limit=recipe.train.error_limit)
