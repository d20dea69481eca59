"""What a run says first: libraries take a busy machine half a minute, and nobody knows why."""

from __future__ import annotations

from rlpeft.recipe.reward import chosen_by
from rlpeft.recipe.run import Recipe

LOADING = "Loading libraries."


def said_of_training(recipe: Recipe) -> str:
    """What is trained, and by which figure its expert will be chosen."""
    bounds = {reward.name: reward.correct_at for reward in recipe.rewards}
    figure, steps = chosen_by(recipe.train.select, bounds), recipe.train.steps
    return (
        f"{recipe.name}: {steps} step{'s' * (steps > 1)}. The best in validation is kept as the "
        f"expert and tested, the best by {figure}. {LOADING}"
    )
