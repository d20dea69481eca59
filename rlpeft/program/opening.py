"""What a run says first: libraries take a busy machine half a minute, and nobody knows why."""

from __future__ import annotations

LOADING = "Loading libraries."


def said_of_training(name: str, steps: int, figure: str) -> str:
    """What is trained, and by which figure its expert will be chosen.

    Args:
        figure: see `rlpeft.recipe.reward.chosen_by`.
    """
    return (
        f"{name}: {steps} step{'s' * (steps > 1)}. The best in validation is kept as the "
        f"expert and tested, the best by {figure}. {LOADING}"
    )
