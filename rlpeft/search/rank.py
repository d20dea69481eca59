"""The order of candidates, on which all that is learned from scores depends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rlpeft.errors import ConfigError


def rank(
    scores_C: Sequence[float], ties_C: Sequence[float] | None, *, expected: int
) -> npt.NDArray[np.int64]:
    """Indices from best to worst: by score, then tie-break, then position; NaN last.

    Raises:
        ConfigError: another number of scores than expected, or nothing but NaN.
    """
    scores = np.array(scores_C, float)
    ties = np.zeros_like(scores) if ties_C is None else np.array(ties_C, float)
    if scores.shape != (expected,) or ties.shape != scores.shape:
        raise ConfigError(
            f"there must be one score and tie-break for each of {expected} candidates, got "
            f"{scores.shape} and {ties.shape}."
        )
    if np.isnan(scores).all():
        raise ConfigError("at least one candidate must have a score, all are NaN.")
    # A comparison with NaN is false either way: a sort would leave it anywhere, even in front.
    keys = (-np.nan_to_num(ties, nan=-np.inf), -np.nan_to_num(scores, nan=-np.inf))
    return np.lexsort(keys)
