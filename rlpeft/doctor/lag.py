"""What it means that engines generate steps ahead of the learner."""

from __future__ import annotations

from collections.abc import Iterator

from rlpeft.doctor.row import Check, ok, warn
from rlpeft.recipe.run import Recipe

MODEST_LAG = 1
"""Enough for engines and learner not to wait for one another, where steps take about the same."""


def check_lag(recipe: Recipe) -> Iterator[Check]:
    """One row where they do."""
    lag = recipe.rollout.max_lag
    if not lag:
        return
    found = (
        f"engines are {lag} step{'s' * (lag > 1)} ahead of the learner; groups of step t are of "
        f"version max(0, t - {1 + lag}), importance ratios are capped at {recipe.loss.ratio_cap:g}"
    )
    if lag <= MODEST_LAG:
        yield ok("rollouts ahead", found)
        return
    advice = (
        "rollout.max_lag = 1 hides the shorter of generating and learning; more only evens out "
        "steps of unequal length, and the loss has no clipping for policies so far apart."
    )
    yield warn("rollouts ahead", found, advice)
