"""Gold answers of problems: what a reward gets, and whether it takes that at all."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from rewards.golds import GoldRule, gold_in
from rlpeft.errors import DataError
from rlpeft.types import Problem

COLUMN = "answer"
"""The column under which rewards get the gold answer."""


def gold_of(problem: Problem) -> Any:
    """The gold answer as rewards get it: what the row holds."""
    return problem.columns.get(COLUMN, problem.answer)


def gold_parts(value: Any) -> tuple[str, dict[str, Any]]:
    """A gold answer as `Problem` holds it: its text, and a column with what is no text itself.

    Rewards get what the row holds, as from the trainers that they were written for: `7 == "7"` is
    false, and the text `"False"` is true.

    Raises:
        DataError: it is a number that is none.
    """
    return gold_text(value), {} if isinstance(value, str) else {COLUMN: value}


def gold_text(value: Any) -> str:
    """A gold answer for people and for prompts: as it is, or as JSON.

    Raises:
        DataError: it is a number that is none.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"must have a gold answer that is text or a finite number, got {value}")
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def require_golds(
    problems: Sequence[Problem], rules: Sequence[GoldRule], *, source: str, split: str
) -> None:
    """Refuse a gold answer of a type that its reward does not take.

    Args:
        source: the file or dataset, for the error.

    Raises:
        DataError: names the first row with such a gold answer.
    """
    for rule in rules:
        for problem in problems:
            try:
                value = gold_in({**problem.columns, COLUMN: gold_of(problem)}, rule.column)
            except KeyError:
                fault = f"reward {rule.reward!r} reads {rule.column!r}, which is not there"
            else:
                fault = rule.fault(value)
            if fault:
                raise DataError(
                    f"{source!r}, {_row(problem)} ({split} problem {problem.id!r}): {fault}. "
                    f"{rule.mend()}"
                )


def _row(problem: Problem) -> str:
    """The row it was made of: ids of problems from rows end in the row's index."""
    index = problem.id.rpartition("/")[2]
    return f"row {int(index) + 1}" if index.isdecimal() else "a row"
