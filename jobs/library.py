"""A folder of experts, loaded into an engine that can run any of them by request."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpeft.adapters.methods import mixed_section
from rlpeft.build import build_engine, build_prompter, build_state
from rlpeft.errors import ExpertError
from rlpeft.experts.files import ExpertCard, find_experts, of_base, other_prompts, read_card
from rlpeft.experts.mixture import BASE, ExpertSet
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer_digest import tokenizer_parts
from rlpeft.recipe.run import ChatConfig, ModelConfig, Recipe, parse_recipe
from rlpeft.rollout.fleet import ExpertFleet, LocalFleet
from rlpeft.tokens.prompter import Prompter


@dataclass(frozen=True)
class Library:
    """Experts and the engine that holds them; its current policy is the base model."""

    experts: ExpertSet
    fleet: ExpertFleet
    prompter: Prompter


def read_experts(root: Path, recipe: Recipe) -> ExpertSet:
    """The experts at or below a folder that are of the recipe's base model.

    Raises:
        ExpertError: none is, or they do not go together.
    """
    digest = model_digest(resolve_model(recipe.model.name))
    folders = keep_of_base(find_experts(root), digest)
    factors = build_state(recipe).factors
    experts = ExpertSet.read(folders, base_digest=digest, factors=factors)
    # The recipe's [chat] is that of their cards (`recipe_of`).
    tell_other_prompts(dict(zip(experts.names[1:], experts.cards, strict=True)), recipe.model)
    return experts


def tell_other_prompts(
    cards: Mapping[str, ExpertCard], model: ModelConfig, chat: ChatConfig | None = None
) -> None:
    """Name, on the error stream, the experts that read other prompts than in their training.

    Args:
        chat: the section under which they are used, where that is not their own.
    """
    now = tokenizer_parts(resolve_model(model.name))
    used = None if chat is None else chat.model_dump(mode="json", exclude_defaults=True)
    for name, card in cards.items():
        for note in other_prompts(name, card, now, used):
            print(f"note: {note}", file=sys.stderr, flush=True)


def keep_of_base(folders: Sequence[Path], base_digest: str) -> list[Path]:
    """The experts of one base; the others are named on the error stream, and left out."""
    kept, notes = of_base(folders, base_digest)
    for note in notes:
        print(f"note: {note}", file=sys.stderr, flush=True)
    return kept


def recipe_of(root: Path, *, model: str | None, rollout: dict[str, Any]) -> Recipe:
    """A recipe that builds the experts' engine.

    Args:
        model: the base model's name or folder; that on most of the experts' cards if absent.
        rollout: the recipe's `[rollout]` section.

    Raises:
        ExpertError: no expert at or below the folder, or as many of one base as of another.
    """
    folders = find_experts(root)
    if not folders:
        raise ExpertError(
            f"--experts must name a folder with experts, there is none at or below {str(root)!r}. "
            "Train one: rlpeft train quickstart"
        )
    digest = _base_of(folders) if model is None else model_digest(resolve_model(model))
    folders, _ = of_base(folders, digest)  # `read_experts` tells which are left out
    card = read_card(folders[0])
    if rollout.get("engine") == "vllm":
        # One slot for each, so that all of them may share a batch.
        rollout = rollout | {"options": {"max_experts": len(folders)} | rollout.get("options", {})}
    tree = {
        "name": "experts",
        "model": {"name": model or card.base_model},
        "task": {"name": "prompts"},  # they come from outside: nothing here loads a task
        "adapter": mixed_section(card.adapter),  # what an `ExpertSet` hands to engines
        "chat": _chat_of(folders),
        "rollout": rollout,
    }
    return parse_recipe(tree, source=f"experts in {root}")


def _chat_of(folders: Sequence[Path]) -> dict[str, Any]:
    """The `[chat]` section that the experts were trained under, with the latest of its dates.

    Raises:
        ExpertError: they were trained under several: no prompt would be right for all.
    """
    cards = [read_card(folder) for folder in folders]
    forms = {json.dumps(c.chat | {"date": None}, sort_keys=True): c.name for c in cards}
    if len(forms) > 1:
        raise ExpertError(
            "experts that answer together must have one [chat] section, those of "
            f"{' and '.join(sorted(forms.values())[:2])} differ. Give them folders of their own."
        )
    dates = [card.chat["date"] for card in cards if card.chat.get("date")]
    return cards[0].chat | ({"date": max(dates)} if dates else {})


def _base_of(folders: Sequence[Path]) -> str:
    """The base digest on most cards."""
    cards = [read_card(folder) for folder in folders]
    counts = Counter(card.base_digest for card in cards).most_common()
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        names = {card.base_digest: card.base_model for card in cards}
        listed = ", ".join(f"{count} of {names[digest]}" for digest, count in counts)
        raise ExpertError(
            f"--model must name the base model where no base has the most experts, got {listed}."
        )
    return counts[0][0]


def stops_of(experts: ExpertSet, stop: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """What ends the answers of each expert, and of the base model.

    Args:
        stop: for all of them, in the place of what their cards say; an empty string stands for
            none.
    """
    if stop is not None:
        return dict.fromkeys(experts.names, tuple(text for text in stop if text))
    cards = zip(experts.names[1:], experts.cards, strict=True)
    return {BASE: (), **{name: card.stop for name, card in cards}}


@contextmanager
def open_library(root: Path, recipe: Recipe) -> Iterator[Library]:
    """Read the experts, build the engine and load all of them into it."""
    experts = read_experts(root, recipe)
    with closing(LocalFleet(build_engine(recipe))) as fleet:
        fleet.engine.load_adapter(experts.state(BASE))
        fleet.load_experts(experts.states())
        yield Library(experts, fleet, build_prompter(recipe))
