"""Figures of several samples a problem, with intervals that know that these are not independent.

A problem is the unit: whatever is reported is a mean over problems of one value each, and samples
of one problem are never counted as further evidence of the others.

P problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from statistics import StatisticsError, correlation, fmean, pstdev, pvariance
from typing import Annotated

from pydantic import Field

from rlpeft.experts.intervals import LEVEL, few_problems, mean_interval, wilson_interval
from rlpeft.recipe.adapter import Section


class Estimate(Section):
    """A figure with its interval."""

    value: float
    """Mean over problems."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    problems: Annotated[int, Field(ge=1, lt=2**63)]
    """Problems that it is a mean over."""


def pass_at_k(correct: int, total: int, k: int) -> float:
    """Probability that one of k samples is correct, from `total` of which `correct` are.

    The unbiased 1 - C(n - c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, eq. 1), in whole
    numbers up to the last division.

    >>> pass_at_k(1, 4, 2)
    0.5
    """
    return 1 - comb(total - correct, k) / comb(total, k)


def share_estimate(values_P: Sequence[float], *, draws: float, level: float = LEVEL) -> Estimate:
    """The mean of shares between 0 and 1, one a problem.

    Wilson's interval of as many independent draws as the spread between problems amounts to,
    n = p(1 - p) / (s² / P), corrected for the degrees of freedom of s, as surveys of clusters do
    (E. L. Korn and B. I. Graubard, Survey Methodology 24, 1998, with Wilson's in the place of
    Clopper's and Pearson's). Of one answer a problem n is P, and this is the interval of a plain
    accuracy.

    Args:
        values_P: at least one.
        draws: the most that n may be: independent answers a problem times problems.
    """
    value, count = fmean(values_P), len(values_P)
    variance = pvariance(values_P)
    if value in (0.0, 1.0):  # no spread is known of at all: problems alone are evidence
        worth = float(count)
    else:
        worth = min(draws, value * (1 - value) * count / variance) if variance else draws
        worth *= few_problems(count, level, worth)
    low, high = wilson_interval(value * worth, worth, level)
    return Estimate(value=value, low=low, high=high, problems=count)


def mean_estimate(
    values_P: Sequence[float], *, level: float = LEVEL, most: float | None = None
) -> Estimate:
    """The mean of scores, one a problem; see `mean_interval`."""
    low, high = mean_interval(values_P, level, most=most)
    return Estimate(value=fmean(values_P), low=low, high=high, problems=len(values_P))


def difference(
    ours_P: Sequence[float],
    theirs_P: Sequence[float],
    ours: Estimate,
    theirs: Estimate,
    *,
    level: float = LEVEL,
    most: float | None = 1.0,
) -> Estimate:
    """Ours less theirs on the same problems, paired by problem.

    Recovered from both intervals and the correlation r between problems (G. Y. Zou and A. Donner,
    Statistics in Medicine 27, 2008, eq. 4), with r corrected: for one answer a problem this is
    method 10 of R. G. Newcombe, Statistics in Medicine 17, 1998, 2635-2650. Where no problem tells
    the two apart it is no narrower than the rule of three; see `_unseen`.

    Args:
        ours, theirs: of these very values, with intervals of this level.
        most: the largest value that there may be: 1 of shares; of scores see `largest_score`,
            `None` where some are below 0.
    """
    r, gap = _correlation(ours_P, theirs_P, most), ours.value - theirs.value
    unseen = _unseen(ours_P, theirs_P, level, most)
    down = _recovered(ours.value - ours.low, theirs.high - theirs.value, r)
    up = _recovered(ours.high - ours.value, theirs.value - theirs.low, r)
    low, high = gap - max(down, unseen), gap + max(up, unseen)
    return Estimate(value=gap, low=low, high=high, problems=len(ours_P))


def corrected_level(number: int, level: float = LEVEL) -> float:
    """Level of each of so many intervals that all hold together with at least `level`.

    Bonferroni's: it needs no assumption of how they depend on each other.
    """
    return 1 - (1 - level) / number


def _recovered(ours: float, theirs: float, r: float) -> float:
    return float(max(0.0, ours * ours - 2 * r * ours * theirs + theirs * theirs) ** 0.5)


def _correlation(ours_P: Sequence[float], theirs_P: Sequence[float], most: float | None) -> float:
    """Pearson's, less Newcombe's correction; 0 where one of them is the same for all problems.

    Of a table of n problems his takes n / 2 from ad - bc > 0: 1 / 2n from the covariance. To the
    squared differences this adds 1, as one more problem would on which one policy has all and the
    other nothing, and so it holds of any values between 0 and 1, or 0 and `most`.
    """
    # Exact, where `correlation` takes the rounding of a mean for a spread: three times 0.7 has one.
    spread = pstdev(map(float, ours_P)) * pstdev(map(float, theirs_P))
    try:
        r = correlation(ours_P, theirs_P) if spread else 0.0
    except StatisticsError:
        return 0.0
    if r <= 0 or most is None:
        return r
    return max(0.0, r - most * most / (2 * len(ours_P) * spread))


def _unseen(
    ours_P: Sequence[float], theirs_P: Sequence[float], level: float, most: float | None
) -> float:
    """The most that policies may differ by which have the same value on each of these problems.

    The rule of three (J. A. Hanley and A. Lippman-Hand, JAMA 249, 1983): where they differ on a
    share of all problems above 1 - (1 - level)^(1 / P), about 3 / P at 95 %, one of P shows it with
    probability `level`. On each they differ by `most`, or by the range of scores some of which are
    below 0. Newcombe's interval is about 2 / P there, and too narrow in 13 of 100 cases.
    """
    if any(own != other for own, other in zip(ours_P, theirs_P, strict=True)):
        return 0.0
    furthest = max(ours_P) - min(ours_P) if most is None else most
    return float(furthest * (1 - (1 - level) ** (1 / len(ours_P))))
