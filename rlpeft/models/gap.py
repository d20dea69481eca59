"""How far two ragged tables of log-probs are apart."""

from __future__ import annotations

from collections.abc import Sequence

LogprobRows = Sequence[Sequence[float]]


def gaps(got: LogprobRows, expected: LogprobRows) -> list[float]:
    """Absolute differences between two ragged tables of the same shape."""
    return [
        abs(a - b)
        for got_row, expected_row in zip(got, expected, strict=True)
        for a, b in zip(got_row, expected_row, strict=True)
    ]


def largest_gap(got: LogprobRows, expected: LogprobRows) -> float:
    """Largest absolute difference between two ragged tables of the same shape."""
    found = gaps(got, expected)
    # `max` drops NaN depending on its position; a NaN anywhere must win.
    return float("nan") if any(gap != gap for gap in found) else max(found, default=0.0)


def mean_gap(got: LogprobRows, expected: LogprobRows) -> float:
    """Mean absolute difference between two ragged tables of the same shape; NaN if one is."""
    differences = gaps(got, expected)
    return sum(differences) / max(len(differences), 1)
