"""Where training begins, if not with a fresh adapter: an expert of its kind (`model.start`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlpeft.errors import ExpertError
from rlpeft.experts.card_parts import Parent
from rlpeft.experts.files import Expert, ExpertCard, adapter_of, load_expert
from rlpeft.experts.hub import known_as, on_hub
from rlpeft.models.base import BaseModel
from rlpeft.recipe.run import Recipe
from rlpeft.recipe.toml import toml_value


def read_start(folder: Path, recipe: Recipe, base: BaseModel) -> Expert:
    """The expert that a recipe goes on from.

    Args:
        folder: where `recipe.model.start` lies.

    Raises:
        ExpertError: no expert there, a damaged one, one of another base model, or one that was
            trained under another `[adapter]`: names each option that differs.
    """
    expert = load_expert(folder, base_digest=base.digest)
    if odd := _differences(expert.card, recipe):
        said = " and ".join(f"{name} = {theirs!r}, not {ours!r}" for name, theirs, ours in odd)
        to_set = ", ".join(f"{name} = {_toml(theirs)}" for name, theirs, _ in odd)
        raise ExpertError(
            f"model.start must be an expert of the recipe's own [adapter]: {known_as(folder)!r} "
            f"was trained with {said}. Set {to_set}, or start from another expert."
        )
    return expert


def _differences(card: ExpertCard, recipe: Recipe) -> list[tuple[str, Any, Any]]:
    """Option, the card's and the recipe's, where its tensors would mean another thing."""
    from rlpeft.adapters.methods import named  # PEFT takes seconds to import

    theirs, ours = adapter_of(card), recipe.adapter
    if theirs.type != ours.type:
        return [("adapter.type", theirs.type, ours.type)]
    passed_over = named(ours.type).trained_by
    options: Mapping[str, Any] = theirs.model_dump(mode="json", exclude=set(passed_over))
    wanted = ours.model_dump(mode="json", exclude=set(passed_over))
    return [
        (f"adapter.{name}", value, wanted[name])
        for name, value in options.items()
        if value != wanted[name]
    ]


def _toml(value: Any) -> str:
    return "nothing" if value is None else toml_value(value)


def parent_of(expert: Expert, named: str) -> Parent:
    """What the card of a child says of an expert.

    Args:
        named: how the recipe names it: its folder, or its commit on the Hub.
    """
    source = named if on_hub(named) else None
    return Parent(name=expert.card.name, digest=expert.card.digest, source=source)
