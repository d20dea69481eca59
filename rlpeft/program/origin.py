"""What a run stands on: a base model, experts merged into it, and where training begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlpeft.build import pinned
from rlpeft.experts.files import Expert, ExpertCard, other_prompts
from rlpeft.experts.hub import known_as
from rlpeft.experts.merged import merged_base, read_parent, require_merged_once
from rlpeft.experts.start import read_start
from rlpeft.files import read_json_if_there
from rlpeft.models.base import BaseModel
from rlpeft.program.folder import said_of_ranks
from rlpeft.program.hub import expert_folder, pinned_names
from rlpeft.recipe.environment import EnvironmentConfig
from rlpeft.recipe.run import ChatConfig, Recipe


@dataclass(frozen=True)
class Origin:
    """From here it goes to learner and engines, wherever they are.

    Attributes:
        base: with the experts of `merged` in its weights.
        start: the expert that training goes on from, if not with a fresh adapter.
        folders: of these experts.
        notes: what is to be told once the run goes on.
    """

    base: BaseModel
    merged: Sequence[Expert]
    start: Expert | None
    folders: Sequence[Path]
    notes: Sequence[str] = ()


def open_origin(recipe: Recipe, stored: Path) -> tuple[Recipe, Origin]:
    """The recipe as its run keeps it, and what it names.

    Args:
        stored: where the recipe lies of a run that is continued; no file at a run's start.

    Raises:
        ModelError, ExpertError, HubError: model or expert is not there, or they do not go together.
    """
    model, notes = recipe.model, said_of_ranks(stored.parent, recipe.resources.learners)
    pins = pinned_names(stored, start=model.start, merge=model.merge)
    recipe = recipe.model_copy(update={"model": model.model_copy(update=pins)})
    plain = BaseModel.open(model.name)
    folders = [expert_folder(name) for name in recipe.model.merge]
    merged = [read_parent(folder, plain) for folder in folders]
    if read_json_if_there(stored) is None:  # a run of before goes on as it began
        require_merged_once(recipe.model.merge, merged)
    base = merged_base(plain, merged, dtype=model.dtype).quantised(model.quantisation)
    recipe, start = pinned(recipe, base, stored), None
    if recipe.model.start is not None:
        folders.append(expert_folder(recipe.model.start))
        start = read_start(folders[-1], recipe, base)
        notes += said_of_prompts({known_as(folders[-1]): start.card}, base, recipe.chat)
    return recipe, Origin(base, merged, start, folders, notes)


def said_of_use(
    cards: Mapping[str, ExpertCard],
    base: BaseModel,
    chat: ChatConfig | None = None,
    environment: EnvironmentConfig | None = None,
) -> list[str]:
    """Which experts are used otherwise than they were trained: see the two parts of it."""
    return [*said_of_prompts(cards, base, chat), *said_of_environments(cards, environment)]


def said_of_environments(
    cards: Mapping[str, ExpertCard], environment: EnvironmentConfig | None = None
) -> list[str]:
    """Which experts talked to another environment in their training than where they are used.

    Args:
        environment: where they are used; absent: none, and they answer in one turn.
    """
    used = None if environment is None else environment.name
    met = {name: card.environment.get("name") for name, card in cards.items()}
    now = "it answers here in one turn" if used is None else f"here it is {used!r}"
    return [
        f"expert {name!r} was trained with the environment {trained!r:.60}, {now}"
        for name, trained in met.items()
        if trained is not None and trained != used
    ]


def said_of_prompts(
    cards: Mapping[str, ExpertCard], base: BaseModel, chat: ChatConfig | None = None
) -> list[str]:
    """Which experts read other prompts than in their training, to be told once they are used.

    Args:
        chat: the section under which they are used, where that is not their own.
    """
    now = base.tokenizer_parts
    used = None if chat is None else chat.model_dump(mode="json", exclude_defaults=True)
    return [line for name, card in cards.items() for line in other_prompts(name, card, now, used)]
