"""Singular-value fine-tuning, W' = U diag(s * z) Vᵀ (Transformer², arXiv 2501.06252, §3.1).

Nothing here forms U diag(s z) Vᵀ. With the square factor B (`rlpeft.adapters.svf.factors`) the
*change* is

    output side (M <= N):  W' = W + B diag(z - 1) Bᵀ W      y' = y + B((z - 1) * Bᵀ y)
    input side  (M >  N):  W' = W + W B diag(z - 1) Bᵀ      y' = W(x + B((z - 1) * Bᵀ x))

so that z = 1 is the base model exactly, in every dtype. Three compute forms:

* factored: the right-hand forms. Any dtype, quantised bases, one z for each sequence.
  Costs 4 R² FLOPs a token forward and as many backward.
* dense: W' is built once for each new z and used like a weight; backward needs 2 R² FLOPs a
  token. The reference forms G = dL/dW' (2 M N a token) and takes dL/dz_i = s_i u_iᵀ G v_i; since
  Bᵀ y' = z * Bᵀ y the same number is [Bᵀ (Σ_t y'_t dy_tᵀ) B]_ii / z_i, an R x R product.
* spectral: the weight in singular coordinates, C = B⁻¹ W or W B⁻ᵀ, takes its place:
  y' = B(z * C x) or y' = C(z * Bᵀ x). One z for each sequence at 2 R² FLOPs a token, forward only.
  fp32: C is a weight rounded anew, and in bf16 that rounding would be another base model.

M out_features, N in_features, R = min(M, N), T tokens (all leading axes).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from rlpeft.adapters.autocast import without_autocast
from rlpeft.adapters.svf.factors import Factors

SMALLEST_DIVISOR = 0.05
"""Below this |z| the dense backward forms G instead of dividing, which would lose digits."""


def multiplier(
    parameter_R: torch.Tensor, singular_values_R: torch.Tensor, parametrisation: str
) -> torch.Tensor:
    """z [..., R] fp32 from the trained vector, or vectors.

    `direct` (paper): the vector itself. `sigmoid_renorm` (reference code): m = sigmoid(p), scaled
    by c = Σ s / Σ s m so that the nuclear norm of W' is that of W.
    """
    parameter_R = parameter_R.float()
    if parametrisation == "direct":
        return parameter_R
    # Departs from the reference in the dtype: in bf16 a step of 2e-3 leaves most of m as it was.
    # The divisor is 0 for a W of zeros alone, since a sigmoid is above 0.
    squashed_R = torch.sigmoid(parameter_R)
    kept = (singular_values_R * squashed_R).sum(-1, keepdim=True)
    return squashed_R * (singular_values_R.sum() / kept)


def growth(z_R: torch.Tensor) -> float:
    """How many times as large a multiplier z [..., R] makes the weight in any direction, at most.

    Of singular values near 0 too: what is computed along them is rounding, and z enlarges it as
    well. Not finite where z is not.
    """
    return float(z_R.abs().max())


def rotate(x: torch.Tensor, basis_RR: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """x + B(change * Bᵀ x) along the last axis.

    Args:
        x: [..., R], any float dtype.
        basis_RR: B, in the dtype of x.
        change: z - 1 in fp32, broadcastable to x: [R], or [B, 1, R] for one z a sequence.
    """
    # z - 1 stays in fp32: bf16 would keep two digits of what was learned.
    coordinates = (x @ basis_RR).float() * change
    return x + coordinates.to(x.dtype) @ basis_RR.T


def spectral_weight(weight_MN: torch.Tensor, factors: Factors) -> torch.Tensor:
    """C [M, N] in the dtype of W, such that B C = W (output side) or C Bᵀ = W.

    In fp64 and by the inverse, not the transpose, so that z = 1 gives W to fp32 rounding.
    """
    basis_RR, full_MN = factors.basis.to(weight_MN.device).double(), weight_MN.double()
    if factors.output_side:
        turned_MN = torch.linalg.solve(basis_RR, full_MN)
    else:
        turned_MN = torch.linalg.solve(basis_RR, full_MN.T).T
    return turned_MN.to(weight_MN.dtype)


def spectral_linear(
    x: torch.Tensor,
    z: torch.Tensor,
    *,
    spectral_MN: torch.Tensor,
    factors: Factors,
    bias_M: torch.Tensor | None = None,
) -> torch.Tensor:
    """x W'ᵀ + b without a gradient of z, where `spectral_MN` is `spectral_weight(W, factors)`.

    Args:
        x: [..., N] fp32.
        z: fp32, broadcastable to [..., R]: [B, 1, R] for one z a sequence.
    """
    if factors.output_side:
        return F.linear(F.linear(x, spectral_MN).mul_(z), factors.basis, bias_M)
    return F.linear((x @ factors.basis).mul_(z), spectral_MN, bias_M)


def dense_weight(weight_MN: torch.Tensor, factors: Factors, z_R: torch.Tensor) -> torch.Tensor:
    """W' [M, N] in the dtype of W; the change is computed in fp32 and rounded once."""
    basis = factors.basis.to(weight_MN.device, torch.float32)
    full_MN = weight_MN.float()
    with without_autocast(full_MN):
        # The square matrix first: R³ + R² max(M, N) multiply-adds, R² max(M, N) twice otherwise.
        change_RR = (basis * (z_R.float() - 1)) @ basis.T
        delta_MN = change_RR @ full_MN if factors.output_side else full_MN @ change_RR
    return (full_MN + delta_MN).to(weight_MN.dtype)


def dense_linear(
    x: torch.Tensor,
    z_R: torch.Tensor,
    *,
    bent_MN: torch.Tensor,
    weight_MN: torch.Tensor,
    factors: Factors,
) -> torch.Tensor:
    """x W'ᵀ with the gradient of z, where `bent_MN` is `dense_weight(weight_MN, factors, z_R)`.

    Under autocast the products with x are taken in its dtype, as those of the base layer are.
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        with without_autocast(x):
            return dense_linear(
                x.to(dtype), z_R, bent_MN=bent_MN.to(dtype), weight_MN=weight_MN, factors=factors
            )
    if not torch.is_grad_enabled() or not (x.requires_grad or z_R.requires_grad):
        return F.linear(x, bent_MN)
    divides = bool(z_R.detach().abs().min() >= SMALLEST_DIVISOR)
    basis = factors.basis
    return _DenseLinear.apply(x, z_R, bent_MN, weight_MN, basis, factors.output_side, divides)


class _DenseLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        z_R: torch.Tensor,
        bent_MN: torch.Tensor,
        weight_MN: torch.Tensor,
        basis_RR: torch.Tensor,
        output_side: bool,
        divides: bool,
    ) -> torch.Tensor:
        y = F.linear(x, bent_MN)
        ctx.output_side, ctx.divides = output_side, divides
        kept = y if output_side and divides else x
        ctx.save_for_backward(kept, z_R, bent_MN, weight_MN, basis_RR)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        (dy,) = grads
        kept, z_R, bent_MN, weight_MN, basis_RR = ctx.saved_tensors
        # The first layers have inputs that nothing is trained behind.
        wants_dx = ctx.needs_input_grad[0] or (ctx.divides and not ctx.output_side)
        dx: Any = dy @ bent_MN if wants_dx else None
        if not ctx.needs_input_grad[1]:
            return dx, None, None, None, None, None, None
        kept_T, dy_T = (t.reshape(-1, t.shape[-1]) for t in (kept, dy))
        if not ctx.divides:
            grad_MN = (dy_T.T @ kept_T).to(weight_MN.dtype)
            outer_RR = grad_MN @ weight_MN.T if ctx.output_side else weight_MN.T @ grad_MN
        else:
            outer_RR = kept_T.T @ (dy_T if ctx.output_side else dx.reshape(-1, dx.shape[-1]))
        # Activations may be in half precision; z and what is summed for it are not.
        exact = torch.promote_types(z_R.dtype, basis_RR.dtype)
        outer_RR, basis_RR = outer_RR.to(exact), basis_RR.to(exact)
        dz_R = ((outer_RR @ basis_RR) * basis_RR).sum(0)
        if ctx.divides:
            dz_R = dz_R / z_R
        return dx, dz_R, None, None, None, None, None
