"""A folder of experts, loaded into an engine that can run any of them by request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpeft.build import build_engine, build_prompter
from rlpeft.errors import ExpertError
from rlpeft.experts.card_parts import BASE
from rlpeft.experts.files import (
    ExpertCard,
    find_experts,
    of_base,
    read_card,
)
from rlpeft.experts.merged import base_of, model_of, open_base
from rlpeft.experts.mixture import ExpertSet, mixed_adapter, read_factors
from rlpeft.experts.steps import run_of
from rlpeft.files import read_json_if_there
from rlpeft.models.base import BaseModel
from rlpeft.program.hub import experts_below
from rlpeft.program.origin import said_of_use
from rlpeft.recipe.run import ChatConfig, EngineSpec, RolloutConfig, validated
from rlpeft.rollout.fleet import ExpertFleet, LocalFleet
from rlpeft.runs.records import RECIPE_FILE
from rlpeft.terminal import note_each
from rlpeft.tokens.requests import Prompter


@dataclass(frozen=True)
class Library:
    """Experts and the engine that holds them; its current policy is the base model."""

    experts: ExpertSet
    fleet: ExpertFleet
    prompter: Prompter


@dataclass(frozen=True)
class Shelf:
    """The experts of one base model at or below a folder, by their cards: not read yet.

    Attributes:
        spec: of an engine that runs any of them by request.
        chat: the section that all of them were trained under.
    """

    root: Path
    base: BaseModel
    spec: EngineSpec
    chat: ChatConfig


def read_experts(shelf: Shelf) -> ExpertSet:
    """The experts at or below the folder that are of its base model.

    Raises:
        ExpertError: none is, or they do not go together.
    """
    folders = keep_of_base(find_experts(shelf.root), shelf.base.digest)
    factors = read_factors(folders[0], shelf.base, shelf.spec.model.dtype)
    experts = ExpertSet.read(folders, base_digest=shelf.base.digest, factors=factors)
    note_each(said_of_use(experts.named_cards, shelf.base))
    return experts


def keep_of_base(folders: Sequence[Path], base_digest: str) -> list[Path]:
    """The experts of one base; the others are named on the error stream, and left out."""
    kept, notes = of_base(folders, base_digest)
    note_each(notes)
    return kept


def find_shelf(root: Path, *, model: str | None, rollout: RolloutConfig) -> Shelf:
    """What the cards at or below a folder say of the engine that runs their experts.

    Args:
        model: the base model's name or folder; that on most of the experts' cards if absent.
        rollout: how it generates.

    Raises:
        ExpertError: no expert at or below the folder, or as many of one base as of another.
    """
    folders = experts_below(root, option="--experts")
    if model is None:
        digest = _base_of(folders)
    else:  # quantised as that of the first is
        digest = open_base(model_of(read_card(folders[0]), model)).digest
    folders, _ = of_base(folders, digest)  # `read_experts` tells which are left out
    card = read_card(folders[0])
    base = base_of(folders[0], card, model_of(card, model))
    spec = EngineSpec(
        model=model_of(card, base.name),
        adapter=mixed_adapter(card),
        rollout=rollout.for_experts(len(folders)),
    )
    chat = validated(ChatConfig, _chat_of(folders), source=f"[chat] of the experts in {root}")
    return Shelf(root, base, spec, chat)


def trained_length(root: Path, strategy: str) -> int | None:
    """New tokens of an answer in training, the most of all experts at or below a folder.

    Args:
        strategy: the name of one of them, or what chooses among all.

    Returns:
        `None` where no folder of a run is there, which keeps this.
    """
    folders = find_experts(root)
    asked = [folder for folder in folders if read_card(folder).name == strategy] or folders
    kept = [read_json_if_there(run_of(folder) / RECIPE_FILE) or {} for folder in asked]
    lengths = [recipe.get("rollout", {}).get("max_tokens") for recipe in kept]
    return max((length for length in lengths if isinstance(length, int)), default=None)


def _chat_of(folders: Sequence[Path]) -> dict[str, Any]:
    """The `[chat]` section that the experts were trained under, with the latest of its dates.

    Raises:
        ExpertError: they were trained under several: no prompt would be right for all.
    """
    cards = [read_card(folder) for folder in folders]
    forms = {chat_form_of(card): card.name for card in cards}
    if len(forms) > 1:
        raise ExpertError(
            "experts that answer together must have one [chat] section, those of "
            f"{' and '.join(sorted(forms.values())[:2])} differ. Give them folders of their own."
        )
    dates = [card.chat["date"] for card in cards if card.chat.get("date")]
    return cards[0].chat | ({"date": max(dates)} if dates else {})


def chat_form_of(card: ExpertCard) -> str:
    """The `[chat]` section on a card but for its date, as a text that can be compared."""
    return json.dumps(card.chat | {"date": None}, sort_keys=True)


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
    """What ends the answers of each expert, and of the base model: see `stop_of`."""
    cards = {BASE: None, **experts.named_cards}
    return {name: stop_of(card, stop) for name, card in cards.items()}


def stop_of(card: ExpertCard | None, stop: Sequence[str] | None) -> tuple[str, ...]:
    """What ends the answers of an expert, or of the base model, which has no card.

    Args:
        stop: in the place of what the card says; an empty string stands for none.
    """
    if stop is not None:
        return tuple(text for text in stop if text)
    return () if card is None else card.stop


@contextmanager
def open_library(shelf: Shelf) -> Iterator[Library]:
    """Read the experts, build the engine and load all of them into it."""
    experts = read_experts(shelf)
    with holding(experts, shelf.spec, shelf.base) as fleet:
        yield Library(experts, fleet, build_prompter(shelf.base, shelf.chat, shelf.spec.rollout))


@contextmanager
def holding(experts: ExpertSet, spec: EngineSpec, base: BaseModel) -> Iterator[ExpertFleet]:
    """An engine of this process that runs the base, and each expert by request."""
    with closing(LocalFleet(build_engine(spec, base))) as fleet:
        fleet.engine.load_adapter(experts.state(BASE))
        fleet.load_experts(experts.states())
        yield fleet
