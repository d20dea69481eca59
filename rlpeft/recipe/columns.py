"""Columns of a row by name; dots read into dicts, as in verl's `reward_model.ground_truth`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.golds import gold_in


def value_at(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column. One of that very name comes first, dots and all.

    >>> value_at({"reward_model": {"ground_truth": "7"}}, "reward_model.ground_truth")
    '7'

    Raises:
        KeyError: there is none.
    """
    return row[column] if column in row else gold_in(row, column)


def has_column(row: Mapping[str, Any], column: str) -> bool:
    """Whether there is such a column, be its value null."""
    try:
        value_at(row, column)
    except KeyError:
        return False
    return True


def overlap(one: str, other: str) -> bool:
    """Whether a column is the other, holds it, or lies in it.

    >>> overlap("reward_model", "reward_model.ground_truth"), overlap("info.a", "info.b")
    (True, False)
    """
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
