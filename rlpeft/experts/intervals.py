"""Intervals of shares and means: inside their range, and wide where little is known.

P problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nlargest
from statistics import NormalDist, fmean

from rlpeft.experts.student import interval, student_quantile

LEVEL = 0.95
"""Of every interval."""

Interval = tuple[float, float]


def wilson_interval(correct: float, total: float, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a proportion (E. B. Wilson, JASA 22, 1927).

    Args:
        total: a whole number, or what a sample of another design is worth in independent draws.
    """
    if total == 0:
        return 0.0, 1.0
    z = _normal_quantile(level)
    p, scale = correct / total, 1 + z * z / total
    centre = (p + z * z / (2 * total)) / scale
    half = z / scale * (p * (1 - p) / total + z * z / (4 * total * total)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(
    values_P: Sequence[float], level: float = LEVEL, *, most: float | None = None
) -> Interval:
    """Of the mean of scores, one a problem: scores times c have the interval times c.

    Where none is below 0 it lies between 0 and the largest score that there may be. Of others it is
    Student's; of a single one it has no width, for nothing is known.

    Args:
        most: the largest score that there may be; absent: what these say of it.
    """
    most = largest_score(values_P) if most is None else most
    if most is not None:
        low, high = _bounded_interval([value / most for value in values_P], level)
        return low * most, high * most
    return interval(values_P, level) if len(values_P) > 1 else (values_P[0], values_P[0])


def largest_score(scores: Iterable[float]) -> float | None:
    """The largest score that there may be, by those seen; `None` where one is below 0.

    Twice the largest less the next (D. S. Robson and J. H. Whitlock, Biometrika 51, 1964): what
    several reach is the end of their scale, one that lies alone is below it. A scale that may be
    from 0 to 1 is none that goes beyond, and of zeros alone it is that one, for nothing is known.

    >>> largest_score([0, 0.02, 0.01, 0.02]), largest_score([0, 8, 7]), largest_score([0.7, 1])
    (0.02, 9, 1.0)
    """
    found = list(scores)
    if any(score < 0 for score in found):
        return None
    first, second = (*nlargest(2, filter(None, found)), 0, 0)[:2]
    end = 2 * first - second if second else first or 1.0
    return min(end, 1.0) if first <= 1 else end


def _bounded_interval(values_P: Sequence[float], level: float) -> Interval:
    """Of a mean p of scores between 0 and 1: Wilson's, of as many draws as they are worth.

    That is p(1 - p) / (s² / P), corrected for the degrees of freedom of s (E. L. Korn and B. I.
    Graubard, Survey Methodology 24, 1998, with Wilson's in the place of Clopper's and Pearson's).
    To s² one more score is added with the variance p(1 - p), the largest that a bounded one has
    (R. Bhatia and C. Davis, 2000): a few that are equal by chance are no certainty.
    """
    p, count = fmean(values_P), len(values_P)
    largest = p * (1 - p)
    if largest <= 0 or count == 1:  # no spread is known of at all: problems alone are evidence
        return wilson_interval(p * count, count, level)
    variance = (sum((value - p) ** 2 for value in values_P) + largest) / count
    worth = largest * count / variance * few_problems(count, level)
    return wilson_interval(p * worth, worth, level)


def few_problems(problems: int, level: float, draws: float | None = None) -> float:
    """What a spread between so few problems is worth less, as it is hardly known.

    Korn's and Graubard's (t(n - 1) / t(P - 1))² of n draws, of infinitely many if absent. There n
    counts them all; here those they are worth, at least P, so that repetition changes nothing.
    """
    if problems == 1:
        return 1.0 if draws is None else 1 / draws
    many = _normal_quantile(level) if draws is None else student_quantile(level, draws - 1)
    return (many / student_quantile(level, problems - 1)) ** 2


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
