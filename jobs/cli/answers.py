"""Some answers of a step, for the terminal: `rlpeft train --show`.

They are what a model wrote: control characters are spelled out, so that none reaches the terminal,
and a long text keeps its start and its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rlpeft.report.answers import varied, visible
from rlpeft.runs.records import completions_path, read_completions

PROMPT_END, HEAD, TAIL, SHORT = 160, 240, 160, 120
"""Characters shown: of a prompt's end, of an answer's start and end, of a gold answer or reason."""

LINE_END = "⏎"
STYLES = {"correct": "green", "wrong": "red"}


def answers_shown(folder: Path, step: int, number: int) -> RenderableType | None:
    """So many answers of a step, with prompt, gold answer, verdict and reason.

    `None` where the step has recorded none: a validation alone, or supervision.

    Args:
        folder: the run's.
    """
    path = completions_path(folder, step)
    if not path.exists():
        return None
    chosen = varied(_by_turns(read_completions(path)))[:number]
    return Group(*(Padding(_answer(row), (0, 0, 0, 2)) for row in chosen))


def _by_turns(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One completion of each problem, then another of each."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["problem"], []).append(row)
    return [row for row in chain(*zip_longest(*groups.values())) if row is not None]


def _answer(row: Mapping[str, Any]) -> Table:
    verdict, prompt = str(row["verdict"]), row["prompt"]
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", width=7)
    table.add_column(overflow="fold")
    table.add_row("prompt", _line(("…" if len(prompt) > PROMPT_END else "") + prompt[-PROMPT_END:]))
    table.add_row("answer", _line(row["completion"], HEAD, TAIL))
    if row["answer"]:
        table.add_row("gold", _line(row["answer"]))
    said = Text.assemble((verdict, STYLES.get(verdict, "yellow")), _reward(row))
    if row["reason"]:
        said.append_text(_line(f": {row['reason']}"))
    table.add_row("verdict", said)
    return table


def _reward(row: Mapping[str, Any]) -> str:
    return "" if row["reward"] is None else f", reward {row['reward']:.3g}"


def _line(text: str, head: int = SHORT, tail: int = SHORT // 2) -> Text:
    return Text(visible(text, head, tail).replace("\n", LINE_END).replace("\t", " "))
