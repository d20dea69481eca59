"""How often tokens occur, and whether frequent ones lie nearer the origin."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rlpeft.errors import DataError

SMALLEST_TAIL = 50
"""Distinct tokens a power-law tail must have."""


@dataclass(frozen=True)
class PowerLaw:
    """p(count) ~ count^-alpha for count >= xmin.

    Attributes:
        alpha: exponent, by maximum likelihood.
        xmin: where the tail begins, by the smallest Kolmogorov-Smirnov distance.
        ks: that distance.
        num_tail: distinct tokens in the tail.
    """

    alpha: float
    xmin: int
    ks: float
    num_tail: int


def fit_power_law(counts: torch.Tensor) -> PowerLaw:
    """Fit a discrete power law to the counts of distinct tokens (Clauset, Shalizi, Newman 2009).

    Args:
        counts: [tokens], whole numbers >= 1.

    Raises:
        DataError: fewer than `SMALLEST_TAIL` distinct tokens, or all counts equal.
    """
    counts = counts.double().sort().values
    starts = [x for x in counts.unique() if int((counts >= x).sum()) >= SMALLEST_TAIL]
    if not starts or counts[0] == counts[-1]:
        raise DataError(
            f"a power law needs at least {SMALLEST_TAIL} distinct tokens with differing counts, "
            f"got {len(counts)}. Give more questions."
        )
    return min((_fit_tail(counts[counts >= x], x) for x in starts), key=lambda fit: fit.ks)


def _fit_tail(tail: torch.Tensor, xmin: torch.Tensor) -> PowerLaw:
    alpha = torch.tensor(0.0, dtype=torch.float64)
    low, high = 1.01, 8.0
    for _ in range(3):
        grid = torch.linspace(low, high, 400, dtype=torch.float64)
        loss = len(tail) * torch.special.zeta(grid, xmin).log() + grid * tail.log().sum()
        alpha = grid[loss.argmin()]
        step = (high - low) / 399
        low, high = max(1.001, float(alpha) - step), float(alpha) + step
    values, repeats = tail.unique(return_counts=True)
    seen = repeats.cumsum(0) / len(tail)
    fitted = 1 - torch.special.zeta(alpha, values + 1) / torch.special.zeta(alpha, xmin)
    return PowerLaw(float(alpha), int(xmin), float((seen - fitted).abs().max()), num_tail=len(tail))


def spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    """Rank correlation of two vectors, ties sharing their mean rank; 0 if one is constant."""
    ranks = torch.stack([_ranks(a), _ranks(b)])
    ranks = ranks - ranks.mean(1, keepdim=True)
    scale = ranks.norm(dim=1).prod()
    return float(ranks[0] @ ranks[1] / scale) if scale > 0 else 0.0


def _ranks(values: torch.Tensor) -> torch.Tensor:
    _, where, repeats = values.double().unique(return_inverse=True, return_counts=True)
    last = repeats.cumsum(0).double()
    return (last - (repeats - 1) / 2)[where]


@dataclass(frozen=True)
class FrequencyBand:
    """Tokens whose count lies in [low, high), and the mean norm of their vectors."""

    low: int
    high: int
    num_tokens: int
    mean_norm: float


def norms_by_frequency(counts: torch.Tensor, norms: torch.Tensor) -> list[FrequencyBand]:
    """Mean norm in octaves of frequency: counts 1, 2-3, 4-7, ...; empty bands left out.

    Args:
        counts: [tokens], >= 1.
        norms: [tokens], norms of their embeddings.
    """
    octaves = counts.double().log2().floor().long()
    return [
        FrequencyBand(
            low=2**octave,
            high=2 ** (octave + 1),
            num_tokens=int((octaves == octave).sum()),
            mean_norm=float(norms[octaves == octave].double().mean()),
        )
        for octave in octaves.unique().tolist()
    ]
