"""MoSLoRA between shrink and expand (arXiv 2602.14490, in our explicit form).

With x̃ = x / s, s = sqrt(in_features), z_e = A_e x and p = softmax(router(x̃)):

    Δ(x) = (α/r) Σ_e E p_e(x) g_e(‖x̃‖², ‖B_e A_e x̃‖², kappa_e) B_e z_e

The factor E (number of experts) makes uniform routing in flat space one LoRA with all A_e, B_e
stacked. Stacked they are: one shrink, one expand, and `bend` between them.
T tokens (any leading axes), R summed rank, E experts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from rlpeft.adapters.lowrank.functional import squared_norm, wide
from rlpeft.adapters.moslora.spaces import SPACES
from rlpeft.geometry import Map


class RouterWeights(NamedTuple):
    """A router's tensors.

    Attributes:
        reads_z: whether it reads z instead of x.
        inner: weight and bias of the first layer.
        outer: weight and bias of the second, for `mlp`.
    """

    reads_z: bool
    inner: tuple[torch.Tensor, torch.Tensor]
    outer: tuple[torch.Tensor, torch.Tensor] | None


class Terms(NamedTuple):
    """What `bend` needs beside x and z.

    Attributes:
        spaces: E space names.
        grams: E Gram matrices B_eᵀB_e / s², each [R/E, R/E].
        kappas: E tuples of curvatures, [1] each.
        router: the router's tensors.
        map: as in the config.
        inverse_scale: 1/s.
        scaling: α/r.
    """

    spaces: tuple[str, ...]
    grams: tuple[torch.Tensor, ...]
    kappas: tuple[tuple[torch.Tensor, ...], ...]
    router: RouterWeights
    map: Map
    inverse_scale: float
    scaling: float


def route(
    x: torch.Tensor, z: torch.Tensor, weights: RouterWeights, inverse_scale: float
) -> torch.Tensor:
    """Softmax probabilities [T, E], float32, from x̃ (or A x̃)."""
    source = z if weights.reads_z else x
    weight, bias = weights.inner
    hidden = F.linear(source, weight) * inverse_scale + bias
    if weights.outer is not None:
        hidden = F.linear(F.silu(hidden), *weights.outer)
    return torch.softmax(wide(hidden), -1)


def bend(
    x: torch.Tensor, z: torch.Tensor, terms: Terms
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], torch.Tensor]:
    """The middle vector with Δ = bend Bᵀ, the gains and the router's probabilities.

    Args:
        x: [T, in_features], the adapter's input.
        z: stacked A x, [T, R].

    Returns:
        [T, R]; E gains, [T, 1] or [T, R/E] each; the probabilities [T, E]. All float32.
    """
    norm2 = squared_norm(x) * terms.inverse_scale**2
    shares = route(x, z, terms.router, terms.inverse_scale)
    num = len(terms.spaces)
    parts = z.chunk(num, -1)
    gains = tuple(
        SPACES[space].gain(norm2, part, gram_RR, kappas, terms.map)
        for space, part, gram_RR, kappas in zip(
            terms.spaces, parts, terms.grams, terms.kappas, strict=True
        )
    )
    weights = (shares * (num * terms.scaling)).split(1, -1)
    each = zip(parts, gains, weights, strict=True)
    return torch.cat([wide(part) * (g * weight) for part, g, weight in each], -1), gains, shares
