"""Figures of several runs on the same problems: what chance of runs and of problems leaves open.

Both are drawn: other seeds would have given other experts, and other problems other shares. An
interval of one of them alone holds for these seeds, or for these problems, and for nothing else.

S seed, P problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from rlpeft.experts.clustered import Estimate, difference, mean_estimate, share_estimate
from rlpeft.experts.intervals import LEVEL, largest_score
from rlpeft.experts.student import student_quantile

Values = Sequence[Sequence[float]]
"""[S, P], the same problems in the same order for every seed."""


def crossed_mean(values_SP: Values, *, judged: bool, level: float = LEVEL) -> Estimate:
    """The mean over seeds and problems.

    Args:
        judged: whether values are right (1) or wrong (0); else they are scores.
    """
    found = _over_problems(values_SP, judged=judged, level=level, most=None)
    found = _widened(found, [fmean(values_P) for values_P in values_SP], level)
    if not judged:
        return found
    return found.model_copy(update={"low": max(0.0, found.low), "high": min(1.0, found.high)})


def crossed_difference(
    ours_SP: Values, theirs_SP: Values, *, judged: bool, level: float = LEVEL
) -> Estimate:
    """Ours less theirs, paired by seed and by problem; see `rlpeft.experts.clustered.difference`.

    Args:
        theirs_SP: of one seed where it has none, as a base model.
        judged: see `crossed_mean`.
    """
    own_P, other_P = _means(ours_SP), _means(theirs_SP)
    most = 1.0 if judged else largest_score([*own_P, *other_P])
    ours, theirs = (
        _over_problems(values_SP, judged=judged, level=level, most=most)
        for values_SP in (ours_SP, theirs_SP)
    )
    found = difference(own_P, other_P, ours, theirs, level=level, most=most)
    every = theirs_SP if len(theirs_SP) == len(ours_SP) else [theirs_SP[0]] * len(ours_SP)
    gaps = [fmean(own_P) - fmean(other_P) for own_P, other_P in zip(ours_SP, every, strict=True)]
    return _widened(found, gaps, level)


def _means(values_SP: Values) -> list[float]:
    """Of each problem over seeds."""
    return [fmean(values_S) for values_S in zip(*values_SP, strict=True)]


def _over_problems(
    values_SP: Values, *, judged: bool, level: float, most: float | None
) -> Estimate:
    """The interval that these seeds alone would have."""
    values_P = _means(values_SP)
    if not judged:
        return mean_estimate(values_P, level=level, most=most)
    return share_estimate(values_P, draws=len(values_SP) * len(values_P), level=level)


def _widened(found: Estimate, values_S: Sequence[float], level: float) -> Estimate:
    """The interval with what the spread between seeds adds, Student's t of their mean.

    Half-widths of independent parts add as squares (G. Y. Zou and A. Donner, Statistics in
    Medicine 27, 2008). Chance of a seed on a problem is in both parts, so that it is rather wide.
    """
    if len(values_S) == 1:
        return found
    by_seed = student_quantile(level, len(values_S) - 1) * stdev(values_S) / len(values_S) ** 0.5
    down = ((found.value - found.low) ** 2 + by_seed**2) ** 0.5
    up = ((found.high - found.value) ** 2 + by_seed**2) ** 0.5
    return found.model_copy(update={"low": found.value - down, "high": found.value + up})
