"""How much of a weight its largest singular values hold (Transformer², arXiv 2501.06252, App. C).

The paper's argument against low-rank SVD adapters: in its models the top 256 components hold less
than half of the sum of singular values on average, and less than a fifth in MLP matrices.

R singular value, largest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from rlpeft.adapters.svf.factors import factorise, warm_cache
from rlpeft.errors import ConfigError


@dataclass(frozen=True)
class Spectrum:
    """Of one weight.

    Attributes:
        module: its name in the base model.
        rank: number of singular values.
        shares: r -> Σ of the top r over Σ of all; 1 where r exceeds the rank.
        stable_rank: Σ σ² / σ_max²: about how many directions carry the weight.
    """

    module: str
    rank: int
    shares: dict[int, float]
    stable_rank: float


def top_share(singular_values_R: torch.Tensor, top: int) -> float:
    """Σ_{i<=top} σ_i / Σ_i σ_i.

    >>> top_share(torch.tensor([6.0, 3.0, 1.0]), 2)
    0.9
    """
    values_R = singular_values_R.double()
    return float(values_R[:top].sum() / values_R.sum())


def spectra(model: nn.Module, tops: Sequence[int]) -> list[Spectrum]:
    """One record for each linear layer under the decoder, in model order; factors are cached.

    Args:
        model: a causal language model; its output head is left out, as adapters leave it out.
        tops: numbers of components to give shares for.

    Raises:
        ConfigError: no number, or one below 1.
    """
    if not tops or min(tops) < 1:
        raise ConfigError(f"--top must be numbers of at least 1, got {list(tops)}.")
    head: object = getattr(model, "get_output_embeddings", lambda: None)()
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    warm_cache([module.weight for module in layers.values()], "gram")
    found = []
    for name, module in layers.items():
        values_R = factorise(module.weight, "gram").singular_values
        shares = {top: top_share(values_R, top) for top in tops}
        stable = float(values_R.double().square().sum() / values_R.double()[0].square())
        found.append(Spectrum(name, len(values_R), shares, stable))
    return found
