"""What a report shows of completions: some of a step in words, and one of them token by token.

Completions are what a model wrote: their invisible characters are shown, long ones are cut.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpeft.experts.files import ExpertCard
from rlpeft.report.tokens import TokenView, token_view
from rlpeft.runs.records import completions_path, completions_steps, read_completions

NUM_PROBLEMS, NUM_COMPLETIONS = 5, 4
"""How much of a step is shown: problems, and completions of each."""

HEAD, TAIL = 1000, 500
"""Characters shown of a longer text: its start, and its end where the answer stands."""


@dataclass(frozen=True)
class Examples:
    """Some completions of one step, by problem, and one rollout token by token.

    Attributes:
        tokens: `None` if the run did not record it.
    """

    step: str
    problems: Sequence[Sequence[Mapping[str, Any]]]
    tokens: TokenView | None


def chosen_steps(folder: Path, card: ExpertCard | None, *, first: bool) -> dict[str, Path]:
    """Label -> completions file of the steps worth showing, each file once."""
    paths = completions_steps(folder)
    if not paths:
        return {}
    chosen = {"first": paths[0]} if first else {}
    if card and (best := completions_path(folder, card.step)) in paths:
        chosen["best"] = best
    chosen["last"] = paths[-1]
    by_path: dict[Path, list[str]] = {}
    for label, path in chosen.items():
        by_path.setdefault(path, []).append(label)
    return {
        f"step {int(path.stem.removeprefix('step_'))} ({' and '.join(labels)})": path
        for path, labels in by_path.items()
    }


def examples(folder: Path, card: ExpertCard | None) -> list[Examples]:
    """Completions of the best and the last step."""
    steps = chosen_steps(folder, card, first=False)
    rows = {label: read_completions(path) for label, path in steps.items()}
    return [Examples(label, pick(each), token_view(each)) for label, each in rows.items()]


def pick(rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Some problems with some completions each, so that every kind of verdict is in sight where
    there is room; else first those that were answered differently."""
    by_prompt: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_prompt.setdefault(f"{row['problem']}\0{row['prompt']}", []).append(row)
    groups = sorted(by_prompt.values(), key=lambda g: len({row["reward"] for row in g}) < 2)
    seen: set[str] = set()
    first: list[list[Mapping[str, Any]]] = []
    later: list[list[Mapping[str, Any]]] = []
    for group in groups:
        kinds = {row["verdict"] for row in varied(group)[:NUM_COMPLETIONS]}
        (later if kinds <= seen else first).append(group)
        seen |= kinds
    return [varied(group)[:NUM_COMPLETIONS] for group in (first + later)[:NUM_PROBLEMS]]


def varied(group: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One of each verdict first, so that a cut leaves every kind in sight."""
    seen: set[str] = set()
    first: list[Mapping[str, Any]] = []
    later: list[Mapping[str, Any]] = []
    for row in group:
        (later if row["verdict"] in seen else first).append(row)
        seen.add(row["verdict"])
    return first + later


def visible(text: str | None, head: int = HEAD, tail: int = TAIL) -> str:
    """Text with its invisible characters spelled out, and cut in the middle where it is long.

    >>> visible("a\\u202eb")
    'a⟨U+202E⟩b'
    """
    text = text or ""
    if len(text) <= head + tail:
        return "".join(map(_visible_character, text))
    left = len(text) - head - tail
    start, end = visible(text[:head], head), visible(text[-tail:], tail)
    return f"{start}\n[… {left:,} characters left out …]\n{end}"


def _visible_character(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character)[0] != "C":
        return character
    return f"⟨U+{ord(character):04X}⟩"
