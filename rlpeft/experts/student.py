"""Student's t interval of a mean of few values, such as one a seed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean; `values` are few, so it is wide."""
    mean = fmean(values)
    if len(values) < 2:
        return float("-inf"), float("inf")
    half = student_quantile(level, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return mean - half, mean + half


def student_quantile(level: float, freedom: float) -> float:
    """The t that |T| stays below with probability `level`, T of Student's distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))
