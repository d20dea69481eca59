"""Gromov hyperbolicity of token clouds, beside what chance gives.

δ is 0 for a tree and large, relative to the diameter, for a sphere. But in high dimension all
distances are nearly equal, and nearly equal distances have a small δ too: 60 Gaussian points in
4096 dimensions get 0.05. So a cloud's δ says something only beside its nulls, clouds without
structure that share a part of its statistics:

    isotropic    same norms, random directions
    permuted     each coordinate shuffled over the question's tokens: same values per coordinate
    covariance   Gaussian with the mean and covariance of all the tokens seen

Relative means: by the diameter, which a single outlier can set. In the middle layers of many
models the first token has a hundred times the norm of the others; there the isotropic null, which
keeps norms, is the one to read.

N points, D coordinates, Q clouds (questions).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from rlpeft.errors import DataError

LARGEST_REFERENCE = 4096
"""Points that stand for all tokens in the covariance null."""

NULLS = ("isotropic", "permuted", "covariance")


def distances(points_ND: torch.Tensor) -> torch.Tensor:
    """Euclidean distances [N, N], float64."""
    points_ND = points_ND.double()
    return torch.cdist(points_ND, points_ND, compute_mode="donot_use_mm_for_euclid_dist")


def delta_from_base(distances_NN: torch.Tensor, base: int = 0) -> float:
    """δ_p = max_ij (max_k min(G_ik, G_kj) - G_ij) with Gromov products G seen from point `base`.

    Exact; O(N²) memory. Over base points δ_p <= δ <= 2 δ_p, so it depends on the choice.
    """
    from_base_N = distances_NN[base]
    gromov_NN = (from_base_N[:, None] + from_base_N[None, :] - distances_NN) / 2
    best_NN = torch.full_like(gromov_NN, -torch.inf)
    for row_N in gromov_NN:
        best_NN = torch.maximum(best_NN, torch.minimum(row_N[:, None], row_N[None, :]))
    return float((best_NN - gromov_NN).max())


def sampled_delta(
    distances_NN: torch.Tensor, num_samples: int, *, generator: torch.Generator
) -> float:
    """Four-point δ: max over random quadruples of (largest - second largest pair sum) / 2.

    A lower bound of δ, needing no base point; 0 for fewer than four points.
    """
    num = len(distances_NN)
    if num < 4:
        return 0.0
    drawn = torch.rand(num_samples, num, generator=generator) if num <= 16 else None
    if drawn is not None:
        a, b, c, d = drawn.argsort(-1)[:, :4].unbind(-1)
    else:
        quads = torch.randint(num, (num_samples, 4), generator=generator)
        ordered = quads.sort(-1).values
        distinct = (ordered.diff(dim=-1) > 0).all(-1)
        a, b, c, d = quads[distinct].unbind(-1)
    sums = torch.stack(
        [
            distances_NN[a, b] + distances_NN[c, d],
            distances_NN[a, c] + distances_NN[b, d],
            distances_NN[a, d] + distances_NN[b, c],
        ],
        -1,
    )
    top = sums.sort(-1, descending=True).values
    return float(((top[:, 0] - top[:, 1]) / 2).max()) if len(top) else 0.0


def relative(delta: float, distances_NN: torch.Tensor) -> float:
    """2 δ / diameter, in [0, 1] for a four-point δ; 0 for a single place."""
    diameter = float(distances_NN.max())
    return 2 * delta / diameter if diameter > 0 else 0.0


def isotropic_null(
    points_ND: torch.Tensor, _: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Random directions with the norms of the points."""
    noise = torch.randn(points_ND.shape, generator=generator, dtype=torch.float64)
    return noise / noise.norm(dim=-1, keepdim=True) * points_ND.double().norm(dim=-1, keepdim=True)


def permuted_null(
    points_ND: torch.Tensor, _: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Each coordinate shuffled over the points on its own: marginals kept, correlations gone."""
    order = torch.rand(points_ND.shape, generator=generator).argsort(0)
    return points_ND.double().gather(0, order)


def covariance_null(
    points_ND: torch.Tensor, reference_ND: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Gaussian points with the mean and covariance of `reference_ND`, never forming D x D."""
    reference = reference_ND.double()
    mean = reference.mean(0)
    count = max(len(reference) - 1, 1)
    weights = torch.randn(len(points_ND), len(reference), generator=generator, dtype=torch.float64)
    return mean + weights @ (reference - mean) / count**0.5


_NULLS: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]] = {
    "isotropic": isotropic_null,
    "permuted": permuted_null,
    "covariance": covariance_null,
}


@dataclass(frozen=True)
class Figure:
    """Relative δ of one kind of cloud over all questions.

    Attributes:
        base: 2 δ_p / diameter of each question, seen from its first token.
        sampled: 2 δ / diameter of each question from sampled quadruples.
    """

    base: tuple[float, ...]
    sampled: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of `base`."""
        return sum(self.base) / len(self.base)

    @property
    def std(self) -> float:
        """Sample standard deviation of `base`; 0 for one question."""
        spread = sum((value - self.mean) ** 2 for value in self.base)
        return (spread / (len(self.base) - 1)) ** 0.5 if len(self.base) > 1 else 0.0

    @property
    def sampled_mean(self) -> float:
        """Mean of `sampled`."""
        return sum(self.sampled) / len(self.sampled)


@dataclass(frozen=True)
class Hyperbolicity:
    """Relative δ of the tokens of some questions and of their nulls, in one layer.

    Attributes:
        layer: 0 for input embeddings, k for the output of block k.
        num_points: tokens of each question.
        diameter: mean diameter of the real clouds.
        dimension: D.
        figures: "real" and each of `NULLS`.
    """

    layer: int
    num_points: tuple[int, ...]
    diameter: float
    dimension: int
    figures: dict[str, Figure]

    def excess(self, null: str) -> tuple[float, float]:
        """Mean of (null - real) over questions and its standard error; above 0 speaks for trees."""
        pairs = zip(self.figures[null].base, self.figures["real"].base, strict=True)
        gaps = [theirs - ours for theirs, ours in pairs]
        mean = sum(gaps) / len(gaps)
        spread = sum((gap - mean) ** 2 for gap in gaps) / max(len(gaps) - 1, 1)
        return mean, (spread / len(gaps)) ** 0.5


def measure(
    clouds: Sequence[torch.Tensor],
    *,
    layer: int = 0,
    max_points: int = 1500,
    num_samples: int = 20_000,
    seed: int = 0,
) -> Hyperbolicity:
    """Relative δ of each cloud and of its three nulls.

    Repeated tokens stay repeated in the nulls.

    Args:
        clouds: [N, D] each, N >= 4 differing points.
        max_points: a larger cloud is cut to a random subset (its first point stays).

    Raises:
        DataError: no cloud, a cloud with too few points, or NaN among them.
    """
    if not clouds:
        raise DataError("hyperbolicity needs at least one question, got none.")
    generator = torch.Generator().manual_seed(seed)
    clouds = [_subset(cloud.detach().cpu(), max_points, generator) for cloud in clouds]
    reference = _reference(clouds, generator)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("real", *NULLS)}
    diameters = []
    for index, cloud in enumerate(clouds):
        places, where = _places(cloud, index)
        for name in found:
            made = places if name == "real" else _NULLS[name](places, reference, generator)
            table = distances(made[where])
            sampled = sampled_delta(table, num_samples, generator=generator)
            pair = (relative(delta_from_base(table), table), relative(sampled, table))
            found[name].append(pair)
            if name == "real":
                diameters.append(float(table.max()))
    return Hyperbolicity(
        layer=layer,
        num_points=tuple(len(cloud) for cloud in clouds),
        diameter=sum(diameters) / len(diameters),
        dimension=clouds[0].shape[1],
        figures={
            name: Figure(tuple(base for base, _ in values), tuple(s for _, s in values))
            for name, values in found.items()
        },
    )


def _places(cloud: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The different points of a cloud, and which of them each point is."""
    places, where = torch.unique(cloud, dim=0, return_inverse=True)
    if len(places) < 4 or not torch.isfinite(places).all():
        raise DataError(
            f"question {index} must have at least 4 different, finite token vectors, got "
            f"{len(places)}. Leave such questions out."
        )
    return places, where


def _subset(points_ND: torch.Tensor, max_points: int, generator: torch.Generator) -> torch.Tensor:
    if len(points_ND) <= max_points:
        return points_ND
    others = torch.randperm(len(points_ND) - 1, generator=generator)[: max_points - 1] + 1
    return torch.cat([points_ND[:1], points_ND[others.sort().values]])


def _reference(clouds: Sequence[torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    every = torch.unique(torch.cat(list(clouds)), dim=0)
    chosen = torch.randperm(len(every), generator=generator)[:LARGEST_REFERENCE]
    return every[chosen]
