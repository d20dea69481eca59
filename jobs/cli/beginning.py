"""What a command says first: libraries take a busy machine half a minute, and nobody knows why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.cli.flags import say_assumed
from rlpeft.terminal import say

if TYPE_CHECKING:
    from rlpeft.recipe.run import Recipe

LOADING = "Loading libraries."


def say_training(recipe: Recipe, folder: Path, *, is_given: bool) -> None:
    """Say what is trained, and by which figure its expert will be chosen.

    Args:
        folder: of the run.
        is_given: whether there is a recipe; else what is assumed is said, too.
    """
    if not is_given:
        say_assumed(recipe, folder)
    from rlpeft.recipe.reward import chosen_by

    bounds = {reward.name: reward.correct_at for reward in recipe.rewards}
    figure, steps = chosen_by(recipe.train.select, bounds), recipe.train.steps
    say(
        f"{recipe.name}: {steps} step{'s' * (steps > 1)}. The best in validation is kept as the "
        f"expert and tested, the best by {figure}. {LOADING}",
        err=True,
    )


def say_beginning(text: str) -> None:
    """Say what will be done."""
    say(f"{text} {LOADING}", err=True)
