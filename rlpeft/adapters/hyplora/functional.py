"""HypLoRA between shrink and expand (arXiv 2410.04010).

With x̃ = x / s the normalised input, z = A x and kappa = -1/R²:

    rotation   Δ(x) = (α/r) log₀(B A exp₀(x̃)) = (α/r) g(‖x̃‖², ‖BAx̃‖²) BAx̃
    boost      A reads [time; space] of exp₀(x̃), B reads [time; space] of the point A gives

times s where the normalisation is undone. The public code, whose time coordinate has
1/K in the place of K, gives every short BAx̃ an update of one length: none of its numbers hold here.

An engine needs z, ‖x‖² and the few tensors of `Terms`; then Δ = `bend(...)` Bᵀ. T tokens (any
leading axes), R rank.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from rlpeft.adapters.geometry import (
    SMALLEST_RADIUS,
    Bound,
    arcsine_ratio,
    gain,
    lift,
    saturated,
    saturation,
    time_coordinate,
)
from rlpeft.adapters.lowrank.functional import image_norm2, image_rows, squared_norm, wide

LARGEST_UNIT_RADIUS = 10.0
"""Of e^a, the radius that `unit` gives every token: its logarithm has no other bound, and e^a would
overflow float32 at a = 89."""
SMALLEST_NORM2 = 1e-12
"""‖x‖² below which `unit` stops normalising: a zero vector has no direction."""


class Terms(NamedTuple):
    """What `bend` needs beside x and z.

    Attributes:
        gram_RR: BᵀB of the unscaled B; [R+1, R+1] for boost.
        kappa: [1], <= 0.
        inner2: [1]: 1/s² for `scale`, the squared radius of x̃ for `unit`, `None` for `none`.
        time_R: the time column of A (boost), else `None`.
        norm_mode: as in the config.
        restore_scale: as in the config.
        max_radius: as in the config.
        scaling: α/r.
    """

    gram_RR: torch.Tensor
    kappa: torch.Tensor
    inner2: torch.Tensor | None
    time_R: torch.Tensor | None
    norm_mode: str
    restore_scale: bool
    max_radius: float | None
    scaling: float


def bend(x: torch.Tensor, z: torch.Tensor, terms: Terms) -> tuple[torch.Tensor, torch.Tensor]:
    """The middle vector with Δ = bend Bᵀ, and the gain.

    Args:
        x: [T, in_features], the adapter's input; only its norm is read.
        z: A x, [T, R].

    Returns:
        [T, R] ([T, R+1] for boost) and [T, 1], float32.
    """
    return bend_by(squared_norm(x), z, terms)


def bend_by(
    norm2: torch.Tensor, z: torch.Tensor, terms: Terms
) -> tuple[torch.Tensor, torch.Tensor]:
    """`bend`, given ‖x‖² [T, 1] in the place of x."""
    shrink2 = _inverse_scale2(norm2, terms)  # 1/s²
    if terms.time_R is not None:
        return _boost(norm2, z, shrink2, terms)
    image2 = image_norm2(z, terms.gram_RR)
    if shrink2 is not None:
        norm2, image2 = norm2 * shrink2, image2 * shrink2
    g = gain(norm2, image2, terms.kappa, map="ambient", sign=-1, max_radius=terms.max_radius)
    outer = g * terms.scaling
    if shrink2 is not None and not terms.restore_scale:
        outer = outer * shrink2.sqrt()
    return wide(z) * outer, g


def _inverse_scale2(norm2: torch.Tensor, terms: Terms) -> torch.Tensor | None:
    """1/s² with x̃ = x / s; `None` for s = 1."""
    if terms.inner2 is None or terms.norm_mode == "scale":
        return terms.inner2
    return terms.inner2 / norm2.clamp_min(SMALLEST_NORM2)


def inner2(log_scale: torch.Tensor, norm_mode: str) -> torch.Tensor:
    """`Terms.inner2` from the trained logarithm: ln s for `scale`, a for `unit`."""
    if norm_mode == "scale":
        return (-2 * wide(log_scale)).exp()
    return wide(log_scale).exp().clamp(max=LARGEST_UNIT_RADIUS).square()


def _boost(
    norm2: torch.Tensor, z: torch.Tensor, shrink2: torch.Tensor | None, terms: Terms
) -> tuple[torch.Tensor, torch.Tensor]:
    assert terms.time_R is not None
    assert terms.max_radius is not None
    z, kappa = wide(z), terms.kappa
    if shrink2 is not None:
        norm2, z = norm2 * shrink2, z * shrink2.sqrt()
    inside = saturation(-kappa * norm2, limit=terms.max_radius)
    rise, stretch = lift(inside.square() * norm2, kappa)
    middle = stretch * inside * z + rise * wide(terms.time_R)
    middle = torch.cat([middle, time_coordinate(squared_norm(middle), kappa)], -1)
    g = arcsine_ratio(kappa * image_norm2(middle, terms.gram_RR), sign=-1)
    outer = g * terms.scaling
    if shrink2 is not None and terms.restore_scale:
        outer = outer * shrink2.rsqrt()
    return middle * outer, g


class FusedRotation(NamedTuple):
    """`bend` and both products around it for `rotation`, bounded and not `unit`, without gradient.

    With t = √-kappa ‖x̃‖ and β = √-kappa ‖B A x̃‖ the gain is asinh(β sinh(t') / t) / β, t' the
    bounded t. One product with x gives A x and what β is the norm of.

    Attributes:
        into_HN: A above √-kappa/s C A, C A = `image_rows(A, B)`; H = 2R.
        back_MR: B times α/r (and 1/s where the scale is not restored).
        radius: [1]: √-kappa/s.
        bound: of t.
        smallest: [1]: `SMALLEST_RADIUS`.
    """

    into_HN: torch.Tensor
    back_MR: torch.Tensor
    radius: torch.Tensor
    bound: Bound
    smallest: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        z, image = F.linear(x, self.into_HN).chunk(2, -1)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        t = torch.addcmul(self.smallest, norm, self.radius)
        beta = torch.linalg.vector_norm(image, dim=-1, keepdim=True).add_(SMALLEST_RADIUS)
        # The ratio first: its product with a tiny β would underflow before the division.
        stretch = saturated(t, self.bound).sinh_().div_(t)
        return F.linear(z * stretch.mul_(beta).asinh_().div_(beta), self.back_MR)


def fuse(down_RN: torch.Tensor, up_MR: torch.Tensor, terms: Terms) -> FusedRotation | None:
    """`FusedRotation` where it computes what `bend` does."""
    if terms.time_R is not None or terms.norm_mode == "unit" or terms.max_radius is None:
        return None
    shrink = torch.ones_like(terms.kappa) if terms.inner2 is None else terms.inner2.sqrt()
    radius = (-terms.kappa).sqrt() * shrink
    image_RN = image_rows(down_RN, up_MR) * radius
    outer = terms.scaling if terms.restore_scale else terms.scaling * shrink
    return FusedRotation(
        torch.cat([down_RN, image_RN]),
        up_MR * outer,
        radius,
        Bound.of([terms.max_radius], radius),
        torch.full_like(radius, SMALLEST_RADIUS),
    )
