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

from rlpeft.adapters.geometry import MARGIN, SMALLEST_RADIUS, Bound, Map, saturated
from rlpeft.adapters.lowrank.functional import image_rows, squared_norm, wide
from rlpeft.adapters.moslora.spaces import CONSTANT, SPACES


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
    return route_by(F.linear(z if weights.reads_z else x, weights.inner[0]), weights, inverse_scale)


def route_by(product: torch.Tensor, weights: RouterWeights, inverse_scale: float) -> torch.Tensor:
    """`route`, given what the weight of the router's first layer makes of x (or of A x)."""
    hidden = product * inverse_scale + weights.inner[1]
    if weights.outer is not None:
        hidden = F.linear(F.silu(hidden), *weights.outer)
    # In fp32: shares that bf16 rounds do not sum to 1, and the mixture would be scaled by the rest.
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
    shares = route(x, z, terms.router, terms.inverse_scale)
    return bend_by(squared_norm(x), z, shares, terms)


def bend_by(
    norm2: torch.Tensor, z: torch.Tensor, shares: torch.Tensor, terms: Terms
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], torch.Tensor]:
    """`bend`, given ‖x‖² [T, 1] and the router's probabilities [T, E] in the place of x."""
    norm2 = norm2 * terms.inverse_scale**2
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


class FusedMixture(NamedTuple):
    """`bend` and both products around it for map `proj`, without gradient; flat is kappa = 0.

    With t = √|kappa| ‖x̃‖, β = √|kappa| ‖B A x̃‖ and σ the sign of kappa, all of them [T, E]:
    g = d' / (β (1 + √(1 - σ d'²))), d = 2 t' β / (t (1 + σ t'²)); a prime bounds t in hyperbolic
    and d in spherical space. One product with x gives A x, what β is the norm of, and the router.

    Attributes:
        into_HN: the A, then √|kappa|/s C A of each expert, C A = `image_rows(A, B)`, then the
            router.
        bias_H: the router's, else 0.
        outer: the second layer of router `mlp`.
        back_MR: B times E α/r.
        radius_E: √|kappa|/s.
        half_signs_E, minus_signs_E: σ/2 and -σ.
        inner, image: bounds of t and of d.
        smallest, half: `SMALLEST_RADIUS` and 1/2, [1].
    """

    into_HN: torch.Tensor
    bias_H: torch.Tensor
    outer: tuple[torch.Tensor, torch.Tensor] | None
    back_MR: torch.Tensor
    radius_E: torch.Tensor
    half_signs_E: torch.Tensor
    minus_signs_E: torch.Tensor
    inner: Bound
    image: Bound
    smallest: torch.Tensor
    half: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rank, num = self.back_MR.shape[1], len(self.radius_E)
        h = F.linear(x, self.into_HN, self.bias_H)
        z, image, logits = h.split((rank, rank, h.shape[-1] - 2 * rank), -1)
        if self.outer is not None:
            logits = F.linear(F.silu(logits), *self.outer)
        t = torch.addcmul(
            self.smallest, torch.linalg.vector_norm(x, dim=-1, keepdim=True), self.radius_E
        )
        beta = torch.linalg.vector_norm(image.unflatten(-1, (num, -1)), dim=-1)
        g = self._gains(t, beta.add_(SMALLEST_RADIUS))
        weights = torch.softmax(logits, -1).mul_(g).unsqueeze(-1)
        return F.linear((z.unflatten(-1, (num, -1)) * weights).flatten(-2), self.back_MR)

    def _gains(self, t: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        inside = saturated(t, self.inner)
        half = torch.addcmul(self.half, inside, inside * self.half_signs_E)
        # The ratio first: its product with a tiny β would underflow before the division.
        d = saturated(inside.div_(half.mul_(t)).mul_(beta), self.image)
        root = torch.addcmul(self.image.one, d, d * self.minus_signs_E).sqrt_()
        return d.div_(root.add_(1).mul_(beta))


def fuse(down_RN: torch.Tensor, up_MR: torch.Tensor, terms: Terms) -> FusedMixture | None:
    """`FusedMixture` where it computes what `bend` does."""
    if terms.map != "proj" or not set(terms.spaces) <= CONSTANT:
        return None
    num, flat = len(terms.spaces), down_RN.new_zeros(1)
    kappa_E = torch.cat([kappas[0] if kappas else flat for kappas in terms.kappas])
    radius_E = kappa_E.abs().sqrt() * terms.inverse_scale
    parts = zip(down_RN.chunk(num), up_MR.chunk(num, -1), radius_E, strict=True)
    images = [image_rows(down, up) * radius for down, up, radius in parts]
    weight, bias = terms.router.inner
    router_N = (weight @ down_RN if terms.router.reads_z else weight) * terms.inverse_scale
    beyond, edge = float("inf"), 1 - MARGIN
    return FusedMixture(
        into_HN=torch.cat([down_RN, *images, router_N]),
        bias_H=torch.cat([bias.new_zeros(2 * len(down_RN)), bias]),
        outer=terms.router.outer,
        back_MR=up_MR * (num * terms.scaling),
        radius_E=radius_E,
        half_signs_E=kappa_E.sign() / 2,
        minus_signs_E=-kappa_E.sign(),
        inner=Bound.of([edge if s == "hyperbolic" else beyond for s in terms.spaces], radius_E),
        image=Bound.of([edge if s == "spherical" else beyond for s in terms.spaces], radius_E),
        smallest=torch.full_like(flat, SMALLEST_RADIUS),
        half=torch.full_like(flat, 0.5),
    )
