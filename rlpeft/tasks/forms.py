"""Rows in the forms of other trainers: where verl's and TRL's have prompt and gold answer.

What a recipe names is taken from there. What it leaves open is settled once for all rows, by the
first: rows in which some have this column and some that one are refused, not mixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlpeft.recipe.columns import has_column, value_at

PROMPTS = ("prompt", "messages")
"""Columns of the prompt: ours, verl's and TRL's; TRL's and OpenAI's of whole conversations."""

ANSWERS = ("answer", "reward_model.ground_truth", "solution", "completion")
"""Columns of the gold answer: ours; verl's; TRL's for rewards; TRL's for supervision."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where rows have prompt and gold answer; an empty name for none."""

    prompt: str
    answer: str


def columns_in(row: Mapping[str, Any], prompt: str | None, answer: str | None) -> Columns:
    """The columns as they are given, or, where `None` is, as the first row has them."""
    return Columns(
        column_among(row, PROMPTS) if prompt is None else prompt,
        column_among(row, ANSWERS) if answer is None else answer,
    )


def column_among(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of `names` that the row has, or the first if it has none."""
    return next((name for name in names if has_column(row, name)), names[0])


def gold_at(row: Mapping[str, Any], name: str) -> Any:
    """The gold answer in a column; of TRL's conversational completions, what their turn says.

    Raises:
        KeyError: there is no such column.
    """
    value = value_at(row, name)
    turns = value if isinstance(value, list) else []
    if len(turns) == 1 and isinstance(turns[0], dict) and turns[0].get("role") == "assistant":
        return turns[0].get("content")
    return value
