"""Constant-curvature geometry, reduced to one scalar a token.

`kappa` is the signed sectional curvature everywhere: negative hyperbolic, positive spherical, 0
flat. The Lorentz model of radius R has kappa = -1/R². A low-rank map BA between the exponential
and the logarithmic map at the origin is BA itself times a *gain* that depends on two squared
norms alone,

    log₀(BA exp₀(x)) = gain(‖x‖², ‖BAx‖², kappa) * BAx ,

so nothing here builds a point of a manifold. All functions are analytic in their squared
arguments, exact at 0, computed in float32 (float64 stays float64), and never read a tensor on the
host. `sign` is what the caller knows of kappa's sign: -1, +1, or 0 for "either"; knowing it halves
the work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch

Map = Literal["ambient", "stereo", "proj"]
"""`ambient`: Lorentz model / sphere, exp and log. `stereo`: Poincaré ball / its spherical dual, exp
and log. `proj`: stereographic projection alone, no exp or log (cheapest)."""

MAPS: tuple[Map, ...] = ("ambient", "stereo", "proj")

MARGIN = 0.05
"""Share of a domain kept free below its edge (ball boundary, equator), where gradients diverge."""
KNEE = 0.75
"""Share of the allowed radius up to which `saturation` changes nothing."""
SERIES_BELOW = 0.03
"""|v| under which the ratios use 8 series terms; the first one left out is below 1e-13."""
SMALLEST_RADIUS = 1e-30
"""Added at inference to radii that are divided by; all ratios tend to 1 there."""
LOG_DOMAIN_FROM = 8.0
"""sqrt(-kappa) * ‖x‖ from which `ambient` works with logarithms; sinh overflows fp32 at 89."""


class _Family(NamedTuple):
    """f(√v)/√v for v > 0, its hyperbolic twin for v < 0, and their common series at 0."""

    circular: Callable[[torch.Tensor], torch.Tensor]
    hyperbolic: Callable[[torch.Tensor], torch.Tensor]
    series: tuple[float, ...]


_TERMS = range(8)
_SINE = _Family(torch.sin, torch.sinh, tuple((-1) ** n / math.factorial(2 * n + 1) for n in _TERMS))
_ARCSINE = _Family(
    torch.asin, torch.asinh, tuple(math.comb(2 * n, n) / 4**n / (2 * n + 1) for n in _TERMS)
)
_TANGENT = _Family(
    torch.tan,
    torch.tanh,
    (
        1.0,
        1 / 3,
        2 / 15,
        17 / 315,
        62 / 2835,
        1382 / 155925,
        21844 / 6081075,
        929569 / 638512875,
    ),
)
_ARCTANGENT = _Family(torch.atan, torch.atanh, tuple((-1) ** n / (2 * n + 1) for n in _TERMS))


def sine_ratio(v: torch.Tensor, *, sign: int = 0) -> torch.Tensor:
    """sin√v/√v for v > 0, sinh√-v/√-v for v < 0, 1 at 0."""
    return _ratio(v, _SINE, sign)


def arcsine_ratio(v: torch.Tensor, *, sign: int = 0) -> torch.Tensor:
    """asin√v/√v for 0 < v < 1, asinh√-v/√-v for v < 0, 1 at 0."""
    return _ratio(v, _ARCSINE, sign)


def tangent_ratio(v: torch.Tensor, *, sign: int = 0) -> torch.Tensor:
    """tan√v/√v for 0 < v < (π/2)², tanh√-v/√-v for v < 0, 1 at 0."""
    return _ratio(v, _TANGENT, sign)


def arctangent_ratio(v: torch.Tensor, *, sign: int = 0) -> torch.Tensor:
    """atan√v/√v for v > 0, atanh√-v/√-v for -1 < v < 0, 1 at 0."""
    return _ratio(v, _ARCTANGENT, sign)


def _ratio(v: torch.Tensor, family: _Family, sign: int) -> torch.Tensor:
    if not torch.is_grad_enabled():
        # f(t)/t is accurate down to any t > 0; the series below is there for the gradient at 0.
        return _closed_ratio(v.abs().sqrt().clamp_min(SMALLEST_RADIUS), v, family, sign)
    near = v.abs() < SERIES_BELOW
    # Each branch gets an argument that is safe where it is not selected: torch.where alone would
    # let inf * 0 = NaN of the other branch into the gradient.
    inner = torch.where(near, v, 0.0)
    series = torch.full_like(v, family.series[-1])
    for coefficient in reversed(family.series[:-1]):
        series = series * inner + coefficient
    root = torch.where(near, 0.25, v.abs()).sqrt()
    return torch.where(near, series, _closed_ratio(root, v, family, sign))


def _closed_ratio(root: torch.Tensor, v: torch.Tensor, family: _Family, sign: int) -> torch.Tensor:
    if sign:
        return (family.circular if sign > 0 else family.hyperbolic)(root) / root
    positive = v > 0
    # 0.5 lies in every domain; asin or atanh of the other sign's roots would be NaN, and so would
    # the gradient that torch.where takes of the branch it leaves out.
    circular = family.circular(torch.where(positive, root, 0.5))
    hyperbolic = family.hyperbolic(torch.where(positive, 0.5, root))
    return torch.where(positive, circular, hyperbolic) / root


def saturation(radius2: torch.Tensor, *, limit: float) -> torch.Tensor:
    """Factor s in (0, 1] that keeps s * radius below `limit`, smoothly.

    1 up to `KNEE * limit`; above, the radius bends into its asymptote with a gradient that never
    vanishes (a clamp would freeze the outlier tokens it acts on).

    Args:
        radius2: squared radius, >= 0.
    """
    # In units of the knee, clamped there: exactly 1 below it, and no square root near 0.
    radius = (radius2 * (KNEE * limit) ** -2).clamp_min(1).sqrt()
    excess = radius - 1
    steepness = KNEE / (1 - KNEE)  # the asymptote lies 1 / steepness above the knee
    return (1 + excess * (1 + (steepness * excess).square()).rsqrt()) / radius


class Bound(NamedTuple):
    """Limits of `saturated`, one a column.

    Attributes:
        knee: radius up to which nothing changes; infinite for no limit.
        steepness: 1 / (distance from the knee to the limit).
        one: 1, for fused operations.
    """

    knee: torch.Tensor
    steepness: torch.Tensor
    one: torch.Tensor

    @classmethod
    def of(cls, limits: Sequence[float], like: torch.Tensor) -> Bound:
        """From the radii that are never reached, `inf` for none."""
        limit = like.new_tensor(limits)
        return cls(KNEE * limit, 1 / ((1 - KNEE) * limit), torch.ones_like(limit))


def saturated(radius: torch.Tensor, bound: Bound) -> torch.Tensor:
    """radius * `saturation(radius²)` in few operations; for inference, where no gradient is taken.

    Args:
        radius: [..., C], >= 0, with C columns of `bound`.
    """
    below = torch.minimum(radius, bound.knee)
    excess = radius - below
    return torch.addcdiv(below, excess, torch.hypot(excess * bound.steepness, bound.one))


def gain(
    norm2: torch.Tensor,
    image_norm2: torch.Tensor,
    kappa: torch.Tensor,
    *,
    map: Map,
    sign: int = 0,
    max_radius: float | None = None,
) -> torch.Tensor:
    """The scalar g with log₀(BA exp₀(x)) = g * BAx, where x and BAx may leave the domain.

    To second order g = 1 + c * kappa * (‖x‖² - ‖BAx‖²) with c = -1/6 (`ambient`), 1/3 (`stereo`),
    -1 (`proj`). A vector beyond the domain of its map is first shortened by `saturation`.

    Args:
        norm2: ‖x‖², any shape and float dtype, >= 0.
        image_norm2: ‖BAx‖², same shape, >= 0.
        kappa: curvature, broadcastable.
        sign: sign of kappa where known at call time (kappa = 0 is allowed with any), else 0.
        max_radius: bounds sqrt(-kappa) * ‖x‖ in the Lorentz model, whose gain grows like
            sinh; without it, large norms are handled in the log domain.

    Returns:
        float32 (float64 if an input is), the broadcast shape.
    """
    norm2, image_norm2, kappa = _widen(norm2, image_norm2, kappa)
    v, w, one_sided = kappa * norm2, kappa * image_norm2, _GAINS[map]
    if sign:
        return one_sided(v, w, sign, max_radius)
    hyperbolic = one_sided(v.clamp(max=0), w.clamp(max=0), -1, max_radius)
    spherical = one_sided(v.clamp(min=0), w.clamp(min=0), 1, max_radius)
    return torch.where(kappa < 0, hyperbolic, spherical)


def _widen(*tensors: torch.Tensor) -> list[torch.Tensor]:
    wide = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    return [t.to(wide) for t in tensors]


# Below, v = kappa * ‖x‖² and w = kappa * ‖BAx‖²: no gain depends on anything else.


def _ambient(v: torch.Tensor, w: torch.Tensor, sign: int, max_radius: float | None) -> torch.Tensor:
    if sign > 0:
        shrink = saturation(v, limit=(1 - MARGIN) * math.pi / 2)
        out = shrink * sine_ratio(v * shrink.square(), sign=1)
        w = w * out.square()
        shorten = saturation(w, limit=1 - MARGIN)
        return out * shorten * arcsine_ratio(w * shorten.square(), sign=1)
    if max_radius is not None:
        shrink = saturation(-v, limit=max_radius)
        out = shrink * sine_ratio(v * shrink.square(), sign=-1)
        return out * arcsine_ratio(w * out.square(), sign=-1)
    near = -v < LOG_DOMAIN_FROM**2
    out = sine_ratio(torch.where(near, v, 0.0), sign=-1)
    close = out * arcsine_ratio(w * out.square(), sign=-1)
    return torch.where(near, close, _ambient_far(torch.where(near, LOG_DOMAIN_FROM**2, -v), -w))


def _ambient_far(radius2: torch.Tensor, image2: torch.Tensor) -> torch.Tensor:
    """asinh(u) / β with ln u = ln sinh(t) + ln β - ln t, t = √radius2 >= 8, β = √image2."""
    radius, image = radius2.sqrt(), image2.clamp_min(SMALLEST_RADIUS).sqrt()
    log_sinh = radius - math.log(2) + torch.log1p(-torch.exp(-2 * radius))
    log_u = log_sinh + image.log() - radius.log()
    # Either branch gets arguments that are safe where the other is taken, as in `_ratio`. Above,
    # asinh(u) = ln 2u + 1/(4u²) to fp32; u itself would overflow at ln u = 89.
    large = log_u.clamp(min=LOG_DOMAIN_FROM)
    arcsine = torch.where(
        log_u > LOG_DOMAIN_FROM,
        large + math.log(2) + 0.25 * torch.exp(-2 * large),
        torch.asinh(log_u.clamp(max=LOG_DOMAIN_FROM).exp()),
    )
    return arcsine / image


def _stereo(v: torch.Tensor, w: torch.Tensor, sign: int, _: float | None) -> torch.Tensor:
    if sign > 0:
        shrink = saturation(v, limit=(1 - MARGIN) * math.pi / 2)
        out = shrink * tangent_ratio(v * shrink.square(), sign=1)
        return out * arctangent_ratio(w * out.square(), sign=1)
    out = tangent_ratio(v, sign=-1)
    w = w * out.square()
    shorten = saturation(-w, limit=1 - MARGIN)
    return out * shorten * arctangent_ratio(w * shorten.square(), sign=-1)


def _proj(v: torch.Tensor, w: torch.Tensor, sign: int, _: float | None) -> torch.Tensor:
    if sign > 0:
        out = 2 / (1 + v)
        w = w * out.square()
        shorten = saturation(w, limit=1 - MARGIN)
        return out * shorten / (1 + (1 - w * shorten.square()).sqrt())
    shrink = saturation(-v, limit=1 - MARGIN)
    out = 2 * shrink / (1 + v * shrink.square())
    return out / (1 + (1 - w * out.square()).sqrt())


_GAINS = {"ambient": _ambient, "stereo": _stereo, "proj": _proj}


def lift(norm2: torch.Tensor, kappa: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """exp₀ into the Lorentz model: (time - R, f), where the space part is f * x; kappa <= 0.

    Time is counted from the origin's R, so that it vanishes with kappa (and with x).
    """
    norm2, kappa = _widen(norm2, kappa)
    half = sine_ratio(kappa * norm2 / 4, sign=-1)
    return (-kappa).sqrt() * norm2 / 2 * half * half, sine_ratio(kappa * norm2, sign=-1)


def time_coordinate(norm2: torch.Tensor, kappa: torch.Tensor) -> torch.Tensor:
    """sqrt(‖space‖² + R²) - R of a Lorentz point with kappa = -1/R² <= 0."""
    norm2, kappa = _widen(norm2, kappa)
    return (-kappa).sqrt() * norm2 / (1 + (1 - kappa * norm2).sqrt())
