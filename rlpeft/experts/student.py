"""Student's t interval of a mean of few values, such as one a seed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from statistics import NormalDist, fmean, stdev
from typing import Any

MANY = 100
"""Degrees of freedom from which Student's quantile is its series in 1 / freedom (M. Abramowitz and
I. Stegun, 1964, 26.7.5), exact to 1e-5 there."""


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean; `values` are few, so it is wide."""
    mean = fmean(values)
    if len(values) < 2:
        return float("-inf"), float("inf")
    half = student_quantile(level, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return mean - half, mean + half


@cache
def student_quantile(level: float, freedom: float) -> float:
    """The t that |T| stays below with probability `level`, T of Student's distribution."""
    if freedom > MANY:  # where the incomplete beta function takes seconds
        z = NormalDist().inv_cdf((1 + level) / 2)
        first = (z**3 + z) / 4
        second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
        third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        return z + first / freedom + second / freedom**2 + third / freedom**3
    import mpmath

    def outside(t: Any) -> Any:
        x = freedom / (freedom + t * t)
        return mpmath.betainc(freedom / 2, 0.5, 0, x, regularized=True) - (1 - level)

    return float(mpmath.findroot(outside, (0.0, 1e6), solver="bisect"))
