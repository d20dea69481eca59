"""Experts as commands and recipes name them: folders, or ids of the Hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlpeft.errors import ExpertError
from rlpeft.experts.files import called, find_experts, lacking, read_card
from rlpeft.experts.hub import fetched_from, on_hub, resolve_expert
from rlpeft.files import read_json_if_there
from rlpeft.models.folder import named_models
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.runs.checkpoint import list_checkpoints
from rlpeft.terminal import note_each


def expert_folder(name: str) -> Path:
    """The folder of an expert, or with experts; what is to be told goes to the error stream.

    Args, raises: see `rlpeft.experts.hub.resolve_expert`.
    """
    folder, notes = resolve_expert(name)
    note_each(notes)
    return folder


def refuse_origin(run: Path, base: str, *, start: str | None, merge: Sequence[str]) -> None:
    """Refuse a start, or one to be merged, that is no expert, or plainly of another base.

    A run that goes on has its own. Whether a folder or a repository holds the weights that a card
    means takes libraries to tell; names that are ours stand for one model each.

    Args:
        base, start, merge: `model.name`, `model.start` and `model.merge` of its recipe.

    Raises:
        ExpertError, HubError: it is not there, or of another base.
    """
    if list_checkpoints(run):
        return
    known = named_models().keys() - {base} if base in named_models() else ()
    for name in filter(None, (start, *merge)):
        card = read_card(resolve_expert(name)[0])
        if card.base_model in known:
            raise ExpertError(
                f"expert {name!r} was trained on base model {called(card)}, model.name is "
                f"{base!r}. Set model.name = {card.base_model!r}, or take an expert of {base}."
            )


def experts_below(root: Path, *, option: str) -> list[Path]:
    """The folders of all experts at or below one.

    Args:
        option: by which it is named, for errors.

    Raises:
        ExpertError: there is none.
    """
    if found := find_experts(root):
        return found
    near = next(iter(lacking(root).items()), None)
    lacks = "" if near is None else f" {str(near[0])!r} lacks {near[1]}: restore it."
    raise ExpertError(
        f"{option} must name a folder with experts, there is none at or below {str(root)!r}."
        f"{lacks} Train one: rlpeft train quickstart"
    )


def pinned_experts(recipe: AdaptRecipe, stored: Path) -> AdaptRecipe:
    """The recipe with experts of the Hub by their commits.

    Args:
        stored: where the recipe lies of a search that is continued: an id without a revision means
            the commit that the search began with. No file at a search's start.
    """
    began = _commits((read_json_if_there(stored) or {}).get("experts", ()))
    return recipe.model_copy(
        update={"experts": tuple(_pinned(name, began) for name in recipe.experts)}
    )


def pinned_names(stored: Path, *, start: str | None, merge: Sequence[str]) -> dict[str, Any]:
    """`model.start` and `model.merge` of a recipe, by their commits where they are on the Hub.

    Args:
        stored: where the recipe lies of a run that is continued, as for `pinned_experts`.
    """
    known = (read_json_if_there(stored) or {}).get("model", {})
    began = _commits([known.get("start") or "", *known.get("merge", ())])
    return {
        "start": None if start is None else _pinned(start, began),
        "merge": tuple(_pinned(name, began) for name in merge),
    }


def _commits(names: Iterable[Any]) -> dict[str, str]:
    """Repository -> what a run kept of it, `ORG/NAME@COMMIT`; folders are left out."""
    return {str(name).partition("@")[0]: str(name) for name in names if on_hub(str(name))}


def _pinned(name: str, began: Mapping[str, str]) -> str:
    if not on_hub(name):
        return name
    return fetched_from(expert_folder(began.get(name, name))) or name
