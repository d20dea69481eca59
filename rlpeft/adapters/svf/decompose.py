"""Two ways to the square factor of W = U diag(s) Vᵀ: U where M <= N, V where M > N.

M out_features, N in_features, R = min(M, N).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

PART = 1 << 25
"""Elements of a weight that are in fp64 at once: 256 MB, whatever the size of the weight."""


def by_gram(weight_MN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvectors of the smaller Gram matrix in fp64.

        W Wᵀ = U diag(s²) Uᵀ    or    Wᵀ W = V diag(s²) Vᵀ

    A square loses half of the digits, and fp64 has more than twice those of the weight. What is
    lost are values of s below 1e-8 of the largest, and an error in a direction costs W' no more
    than that direction's s.

    Returns:
        Basis [R, R] and singular values [R], fp32, descending; the largest element of each
        direction is positive.
    """
    if weight_MN.device.type == "mps":
        weight_MN = weight_MN.cpu()  # Metal has no fp64
    values_R, basis_RR = torch.linalg.eigh(_gram(weight_MN))
    values_R, basis_RR = values_R.flip(0), basis_RR.flip(1)
    largest_R = basis_RR.gather(0, basis_RR.abs().argmax(0, keepdim=True)).squeeze(0)
    basis_RR = basis_RR * torch.where(largest_R < 0, -1.0, 1.0)
    # Rounding leaves some of a singular matrix's zeros below zero.
    return basis_RR.float(), values_R.clamp_min(0).sqrt().float()


def by_svd(weight_MN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The SVD in fp32, by which all factors were made before `by_gram`; signs as they come."""
    u_MR, s_R, vt_RN = torch.linalg.svd(weight_MN.float(), full_matrices=False)
    return (u_MR if weight_MN.shape[0] <= weight_MN.shape[1] else vt_RN.T), s_R


def _gram(weight_MN: torch.Tensor) -> torch.Tensor:
    """W Wᵀ or Wᵀ W [R, R] in fp64, whichever is smaller, summed over parts of the longer side."""
    wide_RL = weight_MN if weight_MN.shape[0] <= weight_MN.shape[1] else weight_MN.T
    gram_RR = torch.zeros(len(wide_RL), len(wide_RL), dtype=torch.float64, device=wide_RL.device)
    for part in wide_RL.split(max(1, PART // len(wide_RL)), dim=1):
        full = part.float().double()  # as the digest sees it, whatever the weight is kept in
        gram_RR.addmm_(full, full.T)
    return gram_RR


DECOMPOSITIONS: dict[str, Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]] = {
    "gram": by_gram,
    "svd": by_svd,
}
"""By their names in a recipe, `adapter.decomposition`."""
