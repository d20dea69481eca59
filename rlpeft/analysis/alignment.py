"""How far two bases of one shape have the same singular vectors in the same places.

An expert of one is read on the other by the place of the singular value (Transformer²,
arXiv 2501.06252, §4.3): what its i-th number scales there is the same direction only if these
agree.
"""

from __future__ import annotations

from math import pi, sqrt

import torch


def alignment(ours_RR: torch.Tensor, theirs_RR: torch.Tensor) -> float:
    """Mean over i of |b_i · b'_i|, of singular vectors in columns, in the order of their values.

    1 where every vector is the same up to its sign; `by_chance` of bases that know nothing of each
    other.

    >>> alignment(torch.eye(2), torch.tensor([[-0.8, 0.6], [0.6, 0.8]]))
    0.8
    """
    return round(float((ours_RR.double() * theirs_RR.double()).sum(0).abs().mean()), 6)


def by_chance(rank: int) -> float:
    """What two random orthogonal matrices have, about: E|x| of a normal x of variance 1/R.

    >>> round(by_chance(128), 3)
    0.071
    """
    return sqrt(2 / (pi * rank))
