"""Several `[[expert]]` of a recipe, trained together on one base, one learner and its engines.

What stands above them holds for each; an expert's own sections are laid over it, key by key, and
make the recipe of its lone run. The string under each field is its documentation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import ConfigDict

from rlpeft.errors import ConfigError
from rlpeft.recipe.run import Name, Recipe, Section, parse_recipe, validated


class ExpertConfig(Section):
    """One of several experts: its name, and what differs for it from the rest of the recipe."""

    name: Name
    """Names the expert, and the folder of its run in that of the recipe."""
    task: dict[str, Any] | list[dict[str, Any]] | None = None
    """Its keys of `[task]`, or all of its `[[task]]`."""
    chat: dict[str, Any] | None = None
    """Its keys of `[chat]`."""
    reward: list[dict[str, Any]] | None = None
    """All of its `[[reward]]`."""
    loss: dict[str, Any] | None = None
    """Its keys of `[loss]`."""
    learner: dict[str, Any] | None = None
    """Its keys of `[learner]`, but for `parallel` and `gradient_checkpointing`."""
    train: dict[str, Any] | None = None
    """Its keys of `[train]`: seed, steps, batch, validation."""
    rollout: dict[str, Any] | None = None
    """Its `max_prompt_tokens`, `max_tokens`, `temperature` and `stop` of `[rollout]`."""


def _task_may_be_each_ones(schema: dict[str, Any]) -> None:
    schema["required"].remove("task")


class ExpertsRecipe(Recipe):
    """A recipe of one expert, or of several that `[[expert]]` names; TOML, YAML or JSON."""

    # For lists of options and for editors alone: each expert's own recipe is validated and run.
    model_config = ConfigDict(json_schema_extra=_task_may_be_each_ones)

    expert: tuple[ExpertConfig, ...] = ()
    """Experts that are trained together; absent: the recipe is of one."""


@dataclass(frozen=True)
class SeveralExperts:
    """A recipe of several experts.

    Attributes:
        name: of the folder that holds their runs.
        recipes: of each expert's lone run, by its name.
        notes: what was asked of all and does not hold for each.
    """

    name: str
    recipes: Mapping[str, Recipe]
    notes: Sequence[str] = ()


OWN: Any = {
    "name": True,
    "task": True,
    "chat": True,
    "environment": True,  # the same for all, and none of what they share
    "reward": True,
    "loss": True,
    "train": True,
    "learner": {
        *("lr", "weight_decay", "betas", "warmup_steps", "schedule", "max_grad_norm"),
        *("token_budget", "logit_chunk"),
    },
    "rollout": {"max_prompt_tokens", "max_tokens", "temperature", "stop"},
    "sft": True,
}
"""What may differ; all else decides what the experts share."""

ONE_A_PROCESS = frozenset({"wandb", "trackio", "mlflow"})
"""Trackers that know one run of a process at a time."""


def parse_together(
    tree: Mapping[str, Any], *, source: str, overrides: Sequence[str] = ()
) -> SeveralExperts:
    """Validate a recipe with `[[expert]]`, given as a plain tree.

    Args:
        overrides: that are in the tree already, as `section.key=value`.

    Raises:
        ConfigError: an expert's recipe is wrong, two have one name, they differ in what they
            share, or ask for what experts together cannot have; `source` names it.
    """
    common = {key: value for key, value in tree.items() if key != "expert"}
    experts = tree["expert"]
    if not (isinstance(experts, list) and experts and all(isinstance(e, dict) for e in experts)):
        raise ConfigError(f"recipe {source!r}: expert must be sections [[expert]], one for each.")
    found = [_recipe_of(common, own, number, source) for number, own in enumerate(experts, 1)]
    for name, number in Counter(recipe.name for recipe in found).items():
        if number > 1:
            raise ConfigError(
                f"recipe {source!r}: every [[expert]] must have a name of its own, {number} are "
                f"called {name!r}: their runs would share a folder."
            )
    _require_shared(found, source)
    _require_possible(found[0], source)
    for recipe in found:
        _refuse_trackers(recipe, source)
    given = {key: value for key, value in common.items() if key == "name"}
    named = validated(_Named, given, source=source)
    notes = [line for override in overrides if (line := _said_of(override, experts))]
    return SeveralExperts(named.name, {recipe.name: recipe for recipe in found}, notes)


def _said_of(override: str, experts: Sequence[Mapping[str, Any]]) -> str:
    """For which experts an override of all does not hold, since they say it themselves."""
    key = override.partition("=")[0].strip()
    own = [str(expert["name"]) for expert in experts if _says(expert, key)]
    if key == "name" or not own:
        return ""
    return (
        f"--set {key} does not hold for {', '.join(own)}, whose [[expert]] sets its own; change "
        f"that by --set expert.{own[0]}.{key}=…"
    )


def _says(section: Any, key: str) -> bool:
    """Whether a section holds a key, or a list in which it is: lists are not laid over lists."""
    for part in key.split("."):
        if not isinstance(section, Mapping):
            return True
        if part not in section:
            return False
        section = section[part]
    return True


class _Named(Section):
    name: Name


def _recipe_of(common: Mapping[str, Any], own: dict[str, Any], number: int, source: str) -> Recipe:
    called = f"{source}, [[expert]] {own.get('name', number)}"
    if shared := sorted(own.keys() & Recipe.model_fields.keys() - ExpertConfig.model_fields.keys()):
        raise ConfigError(
            f"recipe {called!r}: {shared[0]} must be the same for all experts, which share a base, "
            "a learner and its engines. Set it above all [[expert]]."
        )
    validated(ExpertConfig, own, source=called)
    return parse_recipe(_laid_over(common, own), source=called)


def _laid_over(common: Mapping[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """An expert's recipe: its sections over those of all, key by key; lists are its own."""
    merged = dict(common)
    for key, value in own.items():
        are_sections = isinstance(value, dict) and isinstance(common.get(key), dict)
        merged[key] = common[key] | value if are_sections else value
    return merged


def _require_shared(found: list[Recipe], source: str) -> None:
    """Refuse two that differ in what they would share."""
    for one, other in pairwise(found):
        before, now = _shared_keys(one), _shared_keys(other)
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                raise ConfigError(
                    f"recipe {source!r}: {key} must be the same for all experts, which share a "
                    f"base, a learner and its engines: {one.name!r} has {before.get(key)!r}, "
                    f"{other.name!r} has {now.get(key)!r}. Set it above all [[expert]], or train "
                    "them one after the other."
                )


def _shared_keys(recipe: Recipe) -> dict[str, Any]:
    tree = recipe.model_dump(mode="json", exclude=OWN)
    return {f"{section}.{key}": value for section in tree for key, value in tree[section].items()}


def _require_possible(recipe: Recipe, source: str) -> None:
    wanted = {
        "rollout.max_lag": (recipe.rollout.max_lag, 0),
        "resources.learners": (recipe.resources.learners, 1),
        "resources.reward_workers": (recipe.resources.reward_workers, 0),
    }
    for key, (got, possible) in wanted.items():
        if got != possible:
            raise ConfigError(
                f"recipe {source!r}: {key} must be {possible} for several experts, got {got}. Set "
                "it so, or train them one after the other."
            )


def _refuse_trackers(recipe: Recipe, source: str) -> None:
    if several := sorted(ONE_A_PROCESS & {*recipe.train.report_to}):
        raise ConfigError(
            f"recipe {source!r}: train.report_to must be [] or ['tensorboard'] for several "
            f"experts, got {', '.join(several)}, which follows one run of a process. Change it."
        )
