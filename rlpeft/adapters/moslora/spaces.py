"""The spaces an expert of MoSLoRA can live in: a curvature count and a gain, nothing else.

A new space is one more entry of `SPACES`. Its gain may be one number a token, or one for each
middle coordinate (a product manifold treats parts of its rank differently).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from rlpeft.adapters.geometry import Map, gain
from rlpeft.adapters.lowrank.functional import image_norm2

MAX_RADIUS = 4.0
"""Bound of sqrt(-kappa) ‖x̃‖ under map 'ambient', whose hyperbolic gain grows like sinh."""

Gain = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, Sequence[torch.Tensor], Map], torch.Tensor
]
"""(‖x̃‖² [T, 1], A x [T, R], its Gram matrix [R, R], the curvatures, map) -> [T, 1] or [T, R].

The Gram matrix is BᵀB / s², so that zᵀ G z is ‖B A x̃‖².
"""


@dataclass(frozen=True)
class Space:
    """A space of constant curvature, or a product of such.

    Attributes:
        signs: the sign of each curvature the space has; empty for flat space.
        gain: log₀(B A exp₀(x̃)) over B A x̃.
    """

    signs: tuple[int, ...]
    gain: Gain


def curved(sign: int) -> Gain:
    """The gain of hyperbolic (-1) or spherical (+1) space."""

    def of(
        norm2: torch.Tensor,
        z: torch.Tensor,
        gram_RR: torch.Tensor,
        kappas: Sequence[torch.Tensor],
        map: Map,
    ) -> torch.Tensor:
        image2 = image_norm2(z, gram_RR)
        return gain(norm2, image2, kappas[0], map=map, sign=sign, max_radius=MAX_RADIUS)

    return of


def flat(
    norm2: torch.Tensor,
    z: torch.Tensor,
    gram_RR: torch.Tensor,
    kappas: Sequence[torch.Tensor],
    map: Map,
) -> torch.Tensor:
    """1: in flat space exp₀ and log₀ are the identity."""
    return torch.ones_like(norm2)


SPACES: dict[str, Space] = {
    "euclidean": Space((), flat),
    "hyperbolic": Space((-1,), curved(-1)),
    "spherical": Space((1,), curved(1)),
}

CONSTANT = frozenset({"euclidean", "hyperbolic", "spherical"})
"""The spaces whose gains are `curved` and `flat`, and can be computed side by side."""
