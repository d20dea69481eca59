"""The README of an exported or pushed adapter: what it is worth, whence it comes, how to load it.

Its front matter is what model hubs read. Names come from an expert's card, which may come from
anywhere: they are quoted as JSON in the front matter and shown as code in the text, and a number
is shown only if it is one. What is not known says so.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpeft.adapters.methods import named
from rlpeft.experts.files import ExpertCard
from rlpeft.experts.hub import is_hub_id
from rlpeft.experts.measures import ITSELF
from rlpeft.experts.model_card_use import OF_TEXT, BaseCode, how_to_load
from rlpeft.experts.ties import said_of_ties
from rlpeft.models.folder import FETCHABLE, PACKAGED
from rlpeft.recipe.task import task_called
from rlpeft.tasks.benchmarks import BENCHMARKS
from rlpeft.terminal import score_shown

README_FILE = "README.md"

MOST_ROWS = 12
"""Of the table of a training: the first, the last, and some between."""

UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Beside:
    """What is known of an expert beside its card.

    Attributes:
        where: the folder or the id that it is loaded by.
        licence: of its base model, as the Hub writes it.
        curve: metrics of its training, one row a step.
    """

    where: str = "."
    licence: str | None = None
    curve: Sequence[Mapping[str, Any]] = ()


def model_card(
    card: ExpertCard, base: str, loading: BaseCode = OF_TEXT, beside: Beside | None = None
) -> str:
    """The text of the README.

    Args:
        base: the base model as the adapter's config names it.
        beside: nothing is known if absent.
    """
    beside = beside or Beside()
    method = named(str(card.adapter.get("type")))
    label = method.label if method.is_ours else method.name.upper()
    rewards = ", ".join(map(_code, card.rewards)) or "no reward"
    parts = [
        f"---\n{_front(card, base, beside)}\n---\n\n# {_code(card.name)}",
        f"A PEFT adapter ({label}) of {_code(_called(card, base))}, made by rlpeft for task "
        f"{_task(card)}, with {rewards}.",
        f"## What it is worth\n\n{_worth(card)}",
        f"## Its training\n\n{_training(card, beside)}",
        f"## Where it comes from\n\n{_table(('', ''), _origin(card, base, label, beside))}",
        f"## How to load it\n\n{how_to_load(card, base, loading, beside.where)}",
    ]
    return "\n\n".join(parts) + "\n"


def _front(card: ExpertCard, base: str, beside: Beside) -> str:
    head: dict[str, Any] = {"library_name": "peft", "tags": ["rlpeft", str(card.adapter["type"])]}
    if is_hub_id(base):
        head["base_model"] = base
    if beside.licence:
        head["license"] = beside.licence
    if datasets := [found for own in card.sections if (found := dataset_of(own))]:
        head["datasets"] = sorted(set(datasets))
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in head.items())


def dataset_of(task: Mapping[str, Any]) -> str | None:
    """The Hub's id of the data of a task that an expert was trained on, where it is one."""
    name, path = str(task.get("name")), task.get("path")
    if path is None and name in BENCHMARKS:
        path = BENCHMARKS[name].hub
    return path if isinstance(path, str) and is_hub_id(path) else None


def _worth(card: ExpertCard) -> str:
    known = {
        "the expert, on test problems": card.test,
        "its base model, on the same": card.base_test,
        **({"the expert it started from, on the same": card.start_test} if card.start else {}),
        "the expert less its base, paired by problem": ITSELF
        if card.equals_base
        else card.against_base,
        "the expert, on the validation problems it was chosen by": card.validation,
    }
    for label, part in card.tasks.items():
        known[f"the expert, on {_code(label)} alone"] = part.test
        if not card.equals_base:
            known[f"the expert less its base, on {_code(label)} alone"] = part.against_base
    rows = [(name, UNKNOWN if found is None else str(found)) for name, found in known.items()]
    notes = ["It changes nothing: no step did better than the base."] if card.equals_base else []
    if card.correct_at:
        bounds = (f"{at:g} by {_code(reward)}" for reward, at in card.correct_at.items())
        notes.append(f"Correct is an answer with a score of at least {' or '.join(bounds)}.")
    search = card.mixture.search if card.mixture else {}
    if search.get("tied") is True and isinstance(fitness := search.get("fitness"), Mapping):
        notes.append(said_of_ties(fitness))
    return "\n\n".join([_table(("", "value [95 % interval]"), rows), *notes])


def _training(card: ExpertCard, beside: Beside) -> str:
    history = card.mixture.search.get("history") if card.mixture else None
    if isinstance(history, list) and history:
        rows = [row for row in history if isinstance(row, Mapping)]
        columns = {"iteration": "step", "best on the shots": "best", "mean": "mean"}
    else:
        rows = [row for row in beside.curve if "eval_accuracy" in row or "eval_score" in row]
        name = "eval_accuracy" if any("eval_accuracy" in row for row in rows) else "eval_score"
        low, high = f"{name}_low", f"{name}_high"
        columns = {"step": "step", "validation": name, "from": low, "to": high, "reward": "reward"}
    if not rows:
        return f"How it went is {UNKNOWN} here."
    table = [[_number(row.get(key)) for key in columns.values()] for row in _thinned(rows)]
    return _table(tuple(columns), table)


def _thinned(rows: Sequence[Any]) -> list[Any]:
    last = len(rows) - 1
    shown = {round(place * last / (MOST_ROWS - 1)) for place in range(MOST_ROWS)}
    return [rows[place] for place in sorted(shown)]


def _origin(card: ExpertCard, base: str, label: str, beside: Beside) -> Iterator[tuple[str, str]]:
    yield "base model", f"{_code(_called(card, base))}{_made(card, base)}"
    yield "SHA-256 of the base", _code(card.base_digest)
    yield "licence of the base", _code(beside.licence) if beside.licence else UNKNOWN
    yield "adapter", f"{label}: {_options(card.adapter)}"
    yield "SHA-256 of its tensors", _code(card.digest)
    yield "task", _task(card)
    yield "data", "; ".join(map(_data, card.sections))
    if card.problems:
        yield "problems", _options(card.problems)
    yield "rewards", ", ".join(map(_code, card.rewards)) or "none"
    yield "seed", f"{card.seed}"
    yield "step", f"{card.step:,}"
    if card.mixture is not None:
        yield "mixed from", ", ".join(map(_code, card.mixture.parents))
    for parent in card.merged:
        yield "merged into its base", f"{_code(parent.name)}, tensors {_code(parent.digest)}"
    if card.start is not None:
        called = _code(card.start.source or card.start.name)
        yield "started from", f"{called}, tensors {_code(card.start.digest)}"
    if card.transfer is not None:
        yield "trained on another base", _code(card.transfer.base_digest)
    yield "libraries", _options(card.versions) or UNKNOWN


def _called(card: ExpertCard, base: str) -> str:
    """A base's name, where it has one that is known elsewhere, and not its folder here."""
    is_named = not is_hub_id(base) and card.base_model in (*PACKAGED, *FETCHABLE)
    return card.base_model if is_named else base


def _made(card: ExpertCard, base: str) -> str:
    if card.base_model in FETCHABLE:
        return (
            f", made by `rlpeft models fetch {card.base_model}` from a quantised file, not the "
            "weights of that name on a hub"
        )
    return ", which comes with rlpeft" if _called(card, base) in PACKAGED else ""


def _task(card: ExpertCard) -> str:
    weights = {label: _number(part.section.get("weight")) for label, part in card.tasks.items()}
    shares = " and ".join(f"{_code(label)} (weight {weights[label]})" for label in weights)
    return shares or _code(task_called(card.task) or UNKNOWN)


def _data(task: Mapping[str, Any]) -> str:
    """Where its problems came from; of a file no more than its name, for paths tell of machines."""
    path = task.get("path")
    if dataset := dataset_of(task):
        return f"dataset {_code(dataset)} of the Hub"
    if path:
        return f"{_code(Path(str(path)).name)}, a file or folder of its author's"
    return f"what task {_code(task.get('name') or UNKNOWN)} makes itself"


def _options(section: Mapping[str, Any]) -> str:
    said = {key: value for key, value in section.items() if value is not None and key != "type"}
    return ", ".join(_code(f"{key} {_plain(value)}") for key, value in said.items())


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "-"
    return f"{value}" if isinstance(value, int) else score_shown(value)


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: object) -> str:
    """A text that ends where it ends: nothing in it is markup, nor the border of a table."""
    visible = re.sub(r"[`|]", "?", "".join(c if c.isprintable() else "?" for c in str(text)))
    return f"`{visible[:200]}`" if visible.strip() else f"({UNKNOWN})"
