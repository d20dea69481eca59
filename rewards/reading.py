"""From whatever a reward function returns for one completion to a verdict.

Functions give numbers, numpy and torch scalars, booleans, verdicts of ours, or `None`. Only a
boolean, a verdict, verl's `acc` or a recipe's `correct_at` says what is correct.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rewards.blame import one_line
from rewards.errors import RewardError
from rewards.verdict import Verdict, VerdictKind


@dataclass(frozen=True, slots=True)
class Judged:
    """A score of which its function says whether the answer is correct.

    Attributes:
        limit: of a run, which ended the answer before it was one: not correct, and not wrong.
    """

    score: Any
    correct: bool
    limit: str = ""


LARGEST = 1e9
"""Of a score, either way: gradients and their norms stay within float32."""


def number_of(value: Any) -> Any:
    """Return the Python number in a numpy or torch scalar; anything else as it is."""
    if isinstance(value, Judged):
        return number_of(value.score)
    if getattr(value, "shape", None) in ((), (1,)) and hasattr(value, "item"):
        return value.item()
    return value


def to_verdict(
    value: Any, *, name: str, step: int, row: int, correct_at: float | None = None
) -> Verdict:
    """Read one score: a `Verdict`, a finite number, or `None` for unscorable.

    A number is a verdict if it is `True` or `False`, or if `correct_at` says from where on it is
    correct; otherwise it is `GRADED`.

    Raises:
        RewardError: for anything else, or a score beyond `LARGEST`, naming the function, the step
            and the row.
    """
    if isinstance(value, Verdict):
        if correct_at is not None:
            raise RewardError(
                f"reward {name!r} gives verdicts of its own (row {row} at step {step}: "
                f"{value.kind.value}), so correct_at must be absent, got {correct_at:g}. Remove it."
            )
        _require_usable(value.score or 0.0, name=name, step=step, row=row)
        return value
    if value is None:
        return Verdict(None, VerdictKind.UNSCORABLE, f"{name} gave None")
    if isinstance(value, BaseException):
        return Verdict(None, VerdictKind.ERROR, f"{name} raised {one_line(value)}")
    number = number_of(value)
    score = _finite(number)
    if score is None:
        raise RewardError(
            f"reward {name!r} must give a finite number or None per completion, got "
            f"{_shown(value)} for row {row} at step {step}. Return None where a completion cannot "
            "be scored."
        )
    _require_usable(score, name=name, step=step, row=row)
    kind, reason = _kind_of(value, number, correct_at), f"{name} gave {score:g}"
    if isinstance(value, Judged) and value.limit and kind is VerdictKind.WRONG:
        return Verdict(score, VerdictKind.TRUNCATED, f"{reason}, {value.limit} ended it")
    return Verdict(score, kind, reason)


def _require_usable(score: float, *, name: str, step: int, row: int) -> None:
    if abs(score) > LARGEST:
        raise RewardError(
            f"reward {name!r} must give scores between {-LARGEST:g} and {LARGEST:g}, which "
            f"training can use, got {score:g} for row {row} at step {step}. Scale or clip them."
        )


def _finite(number: Any) -> float | None:
    if not isinstance(number, (bool, int, float)):
        return None
    try:
        score = float(number)
    except OverflowError:  # an integer beyond the largest float
        return None
    return score if math.isfinite(score) else None


def _kind_of(value: Any, number: Any, correct_at: float | None) -> VerdictKind:
    if correct_at is not None:
        correct = bool(number >= correct_at)
    elif isinstance(value, Judged):
        correct = value.correct
    elif isinstance(number, bool):
        correct = number
    else:
        return VerdictKind.GRADED
    return VerdictKind.CORRECT if correct else VerdictKind.WRONG


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:
        # Recovery: Python prints no integer beyond 4300 digits, and a user's `repr` may raise.
        text = f"a {type(value).__name__} ({error})"
    return text if len(text) <= 80 else f"{text[:80]}…"
