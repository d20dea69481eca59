"""Pure pieces of a low-rank update with a per-token multiplier; used in PEFT layers and engines.

All norms and multipliers are float32 whatever the dtype of the activations, also under autocast.
N in_features, M out_features, R rank; leading axes are tokens.
"""

from __future__ import annotations

import torch

from rlpeft.adapters.autocast import without_autocast


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, or as it is if float64."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def squared_norm(x: torch.Tensor) -> torch.Tensor:
    """‖x‖² over the last axis, [..., 1], with gradient 0 at 0."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype).square()


def gram(up_MR: torch.Tensor) -> torch.Tensor:
    """BᵀB [R, R]: with it ‖B z‖² costs R² a token instead of M R."""
    with without_autocast(up_MR):
        up_MR = wide(up_MR)
        return up_MR.T @ up_MR


def image_rows(down_RN: torch.Tensor, up_MR: torch.Tensor) -> torch.Tensor:
    """C A [R, N] with ‖C A x‖ = ‖B A x‖, C a Cholesky factor of BᵀB; in the dtype of A.

    Computed in float64 and rounded once. A share of 1e-12 of the largest eigenvalue is added: B is
    often singular, and zero at the start.
    """
    with without_autocast(up_MR):
        gram_RR = up_MR.double().T @ up_MR.double()
        # At B = 0 the trace is 0, too; the root of 1e-60 is 1e-30, as small as `SMALLEST_RADIUS`.
        jitter = 1e-12 * gram_RR.trace() + 1e-60
        identity_RR = torch.eye(len(gram_RR), dtype=torch.float64, device=up_MR.device)
        root_RR, _ = torch.linalg.cholesky_ex(gram_RR + jitter * identity_RR)
        return (root_RR.T @ down_RN.double()).to(down_RN.dtype)


def image_norm2(z: torch.Tensor, gram_RR: torch.Tensor) -> torch.Tensor:
    """‖B z‖² = zᵀ(BᵀB)z, [..., 1]; never negative, as rounding would have it near 0."""
    with without_autocast(z):
        z = wide(z)
        return ((z @ gram_RR) * z).sum(-1, keepdim=True).clamp_min(0)


def bounded_magnitude(logit: torch.Tensor, bounds: tuple[float, float]) -> torch.Tensor:
    """|kappa| = low + (high - low) * sigmoid(θ), float32."""
    low, high = bounds
    return low + (high - low) * torch.sigmoid(wide(logit))
