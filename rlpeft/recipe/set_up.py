"""What of a recipe decides the numbers of a run or search, and must not change while it goes on."""

from __future__ import annotations

from typing import Any

from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.rollout import UNTRUNCATED
from rlpeft.recipe.run import ChatConfig, Recipe, TaskConfig

EXECUTION_ONLY: Any = {
    "resources": True,
    "learner": {"parallel"},
    "train": {"report_to", "keep_checkpoints", "keep_bytes", "unscorable_limit"},
    "reward": {"__all__": {"timeout_s", "warmup_timeout_s"}},
    "environment": {"timeout_s", "warmup_timeout_s", "memory_mb"},
    "rollout": {"num_engines", "batch_size", "tensor_parallel"},
}
"""Parts of a recipe that may change under a checkpoint: they decide where, not what."""

WHERE_ALONE: Any = {"resources": True, "rollout": EXECUTION_ONLY["rollout"]}
"""The same of a search."""

SINCE = {("loss", "reference"): "base", ("train", "select"): None, ("rollout", "max_lag"): 0}
"""Options that recipes of runs from before there was a choice do not have, and what held then."""


def set_up(recipe: Recipe) -> dict[str, Any]:
    """The recipe as a fingerprint has it, but for options that a method of adapters had otherwise.

    With a constant schedule a longer run begins exactly as the shorter one, so its length may
    change. Experts that it names count by their numbers, which are not in here.
    """
    if isinstance(recipe.task, TaskConfig):
        told = recipe.model_copy(update={"reward": recipe.rewards})
        tree = told.model_dump(mode="json", exclude=EXECUTION_ONLY)
    else:
        of_each = {"__all__": {"reward": EXECUTION_ONLY["reward"]}}
        tree = recipe.model_dump(mode="json", exclude={**EXECUTION_ONLY, "task": of_each})
    if recipe.learner.schedule == "constant":
        del tree["train"]["steps"]
    del tree["model"]["start"], tree["model"]["merge"]
    for (section, option), former in SINCE.items():
        if tree[section][option] == former:
            del tree[section][option]
    for reward in tree["reward"] or ():
        if reward["correct_at"] is None:  # as in runs from before there was a threshold
            del reward["correct_at"]
    tree["rollout"]["stop"] = list(recipe.rollout.stop_strings)
    tree["rollout"] |= UNTRUNCATED  # as in runs from when these were options
    if recipe.chat == ChatConfig():  # as in runs from before there was such a section
        del tree["chat"]
    if recipe.environment is None:  # as in runs from before there were any
        del tree["environment"]
    return tree


def environment_of(recipe: Recipe) -> dict[str, Any]:
    """What decides conversations, and not where they run; empty where there are none."""
    section = recipe.environment
    return {} if section is None else section.model_dump(exclude=EXECUTION_ONLY["environment"])


def code_names(recipe: Recipe | AdaptRecipe) -> list[str]:
    """Names of what may be code of the user's: rewards, and the environment."""
    names = [reward.name for reward in recipe.rewards]
    section = recipe.environment if isinstance(recipe, Recipe) else None
    return names if section is None else [*names, section.name]


def search_set_up(recipe: AdaptRecipe) -> dict[str, Any]:
    """The same of a search."""
    told = recipe.model_copy(update={"reward": recipe.rewards})
    tree = told.model_dump(mode="json", exclude=WHERE_ALONE)
    tree["rollout"]["stop"] = list(recipe.rollout.stop_strings)
    tree["rollout"] |= UNTRUNCATED  # as in searches from when these were options
    if recipe.chat == ChatConfig():  # as in searches from before there was such a section
        del tree["chat"]
    if not recipe.search.samples:  # likewise
        del tree["search"]["samples"]
    return tree
