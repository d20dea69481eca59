"""Experts that are trained together: each examined as its lone run, and what they share, once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from rlpeft.doctor.examine import examine
from rlpeft.doctor.row import Check
from rlpeft.recipe.run import Recipe

MEMORY = "memory"


def examine_together(recipes: Mapping[str, Recipe]) -> Iterator[Check]:
    """Check each recipe; rows are called by the expert's name.

    Base, learner and engine are in memory once, for whichever expert's steps are the largest. What
    each has of its own there, an adapter and its moments, is next to nothing.
    """
    largest = {
        name: max(getattr(recipe.learner, name) for recipe in recipes.values())
        for name in ("token_budget", "logit_chunk")
    }
    for number, (name, recipe) in enumerate(recipes.items()):
        learner = recipe.learner.model_copy(update={} if number else largest)
        for check in examine(recipe.model_copy(update={"learner": learner})):
            if check.name != MEMORY:
                yield replace(check, name=f"{check.name} ({name})")
            elif not number:
                yield replace(check, name=f"{MEMORY} (all)")
