"""The objective: E[A log π(y|x)] - λ KL(π ‖ base), token by token (Transformer², arXiv 2501.06252,
eq. 2, where A is the reward r).

Everything here is fp32 and per completion token (N); how tokens are weighted is decided in
`rlpeft.training.packing`. Full-vocabulary terms exist for `logit_chunk` tokens at a time: a whole
batch of [N, V] in fp32 is never in memory. What a token contributes depends on its own hidden state
alone, so its gradient is a number, known only in the backward pass, times a vector [D] that is
computed in the forward pass while the token's logits are at hand. Logits are therefore computed
once, where recomputing them would cost a third of the head's work again.

N completion token, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

KlKind = Literal["full", "full_reverse", "k1", "k3"]
Head = Callable[[torch.Tensor], torch.Tensor]
"""Hidden states [N, D] to logits [N, V]."""


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What the objective needs of each completion token; all fp32 [N].

    Attributes:
        logprobs_N: log π of the sampled token, at the sampling temperature.
        kl_N: KL to the reference as named by `KlKind`; zeros if not asked for.
        entropy_N: entropy of π, without gradient.
    """

    logprobs_N: torch.Tensor
    kl_N: torch.Tensor
    entropy_N: torch.Tensor


def token_terms(
    hidden_ND: torch.Tensor,
    base_hidden_ND: torch.Tensor | None,
    targets_N: torch.Tensor,
    *,
    head: Head,
    temperature: float,
    kl: KlKind,
    chunk: int,
) -> TokenTerms:
    """Log-prob, KL and entropy of every token, `chunk` tokens of logits at a time.

    Args:
        hidden_ND: last hidden states of the policy at the predicting positions.
        base_hidden_ND: those of the reference, the base model or the policy that training began
            with, or `None` for no KL.
        temperature: logits are divided by it, for policy and reference alike.
    """
    logprobs_N, other_N, entropy_N = _TokenTerms.apply(
        hidden_ND, base_hidden_ND, targets_N, head, temperature, kl, chunk
    )
    if base_hidden_ND is None:
        return TokenTerms(logprobs_N, torch.zeros_like(entropy_N), entropy_N)
    kl_N = sampled_kl(logprobs_N, other_N, kl) if kl in ("k1", "k3") else other_N
    return TokenTerms(logprobs_N, kl_N, entropy_N)


class _TokenTerms(torch.autograd.Function):
    """Log-prob, KL (or, for the sampled kinds, base log-prob) and entropy, all [N]."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        base_hidden_ND: torch.Tensor | None,
        targets_N: torch.Tensor,
        head: Head,
        temperature: float,
        kl: KlKind,
        chunk: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        base = [None] * len(hidden_ND) if base_hidden_ND is None else base_hidden_ND.split(chunk)
        parts = [
            _chunk_terms(h, b, t, head, temperature, kl)
            for h, b, t in zip(hidden_ND.split(chunk), base, targets_N.split(chunk), strict=False)
        ]
        logprobs_N, other_N, entropy_N, *jacobians_ND = (
            torch.cat(column) for column in zip(*parts, strict=True)
        )
        ctx.save_for_backward(*jacobians_ND)
        ctx.mark_non_differentiable(entropy_N)
        return logprobs_N, other_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        jacobians_ND = ctx.saved_tensors
        pairs = zip(grads, jacobians_ND, strict=False)  # a sampled KL has no Jacobian of its own
        hidden_grad_ND = sum(grad_N[:, None] * jacobian_ND for grad_N, jacobian_ND in pairs)
        return hidden_grad_ND.to(jacobians_ND[0].dtype), *[None] * 6


@torch.no_grad()
def _chunk_terms(
    hidden_ND: torch.Tensor,
    base_hidden_ND: torch.Tensor | None,
    targets_N: torch.Tensor,
    head: Head,
    temperature: float,
    kl: KlKind,
) -> tuple[torch.Tensor, ...]:
    """The three terms [N], then d/dhidden [N, D] of the log-prob and of a full KL."""
    with torch.enable_grad():
        leaf_ND = hidden_ND.detach().requires_grad_()
        logits_NV = head(leaf_ND)

    def to_hidden(direction_NV: torch.Tensor) -> torch.Tensor:
        given_NV = direction_NV.to(logits_NV.dtype)
        # The head's graph is kept: a full KL goes back through it a second time.
        (grad_ND,) = torch.autograd.grad(logits_NV, leaf_ND, given_NV, retain_graph=True)
        return grad_ND / temperature

    scaled_NV = _scaled(logits_NV.detach(), temperature)
    pi_NV = torch.softmax(scaled_NV, -1)
    log_z_N = _log_z(scaled_NV, pi_NV)
    logprobs_N = _pick(scaled_NV, targets_N) - log_z_N
    # H = log Z - Σ π x: no log of a π that has become 0, and no [N, V] of logs.
    entropy_N = log_z_N - torch.einsum("nv,nv->n", pi_NV, scaled_NV)
    other_N, kl_direction_NV = torch.zeros_like(entropy_N), None
    if base_hidden_ND is not None:
        base_NV = _scaled(head(base_hidden_ND), temperature)
        log_base_NV = base_NV - _log_z(base_NV, torch.softmax(base_NV, -1))[:, None]
        log_pi_NV = scaled_NV - log_z_N[:, None]
        other_N, kl_direction_NV = _base_term(log_pi_NV, log_base_NV, targets_N, kl)
    jacobians_ND = [] if kl_direction_NV is None else [to_hidden(kl_direction_NV)]
    # d log π(y) / dlogit_v = 1[v = y] - π_v; in place, for π is needed no more and is [N, V].
    score_NV = pi_NV.neg_().scatter_add_(-1, targets_N[:, None], torch.ones_like(pi_NV[:, :1]))
    return logprobs_N, other_N, entropy_N, to_hidden(score_NV), *jacobians_ND


def _log_z(scaled_NV: torch.Tensor, probs_NV: torch.Tensor) -> torch.Tensor:
    """log Σ exp, [N], from the most likely token: its probability, at least 1 / V, is exact."""
    top_N, at_N = scaled_NV.max(-1)
    return top_N - _pick(probs_NV, at_N).log()


def _scaled(logits_NV: torch.Tensor, temperature: float) -> torch.Tensor:
    # Models leave logits in their own dtype. In bf16 a KL comes out below zero, where none can be.
    logits_NV = logits_NV.float()
    return logits_NV if temperature == 1 else logits_NV / temperature


def _base_term(
    log_pi_NV: torch.Tensor, log_base_NV: torch.Tensor, targets_N: torch.Tensor, kl: KlKind
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A full KL [N] and its gradient in the logits [N, V], or the base's log-prob [N]."""
    # Eq. 2 has KL(π ‖ base), which is `full`; the paper's public code takes `full_reverse`.
    if kl == "full":  # d/dlogit_v = π_v (log π_v - log base_v - KL)
        kl_N = full_kl(log_pi_NV, log_base_NV)
        return kl_N, log_pi_NV.exp() * (log_pi_NV - log_base_NV - kl_N[:, None])
    if kl == "full_reverse":  # d/dlogit_v = π_v - base_v
        return full_kl(log_base_NV, log_pi_NV), log_pi_NV.exp() - log_base_NV.exp()
    return _pick(log_base_NV, targets_N), None


def _pick(log_probs_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    return log_probs_NV.gather(-1, targets_N[:, None]).squeeze(-1)


def full_kl(log_p_NV: torch.Tensor, log_q_NV: torch.Tensor) -> torch.Tensor:
    """KL(p ‖ q) over the vocabulary, [N]."""
    return (log_p_NV.exp() * (log_p_NV - log_q_NV)).sum(-1)


def sampled_kl(
    logprobs_N: torch.Tensor, base_logprobs_N: torch.Tensor, kind: Literal["k1", "k3"]
) -> torch.Tensor:
    """KL estimated from the sampled token (J. Schulman, "Approximating KL divergence", 2020).

    `k1`: value log π - log base. Its plain gradient has mean zero, so the score-function gradient
    (log π - log base) ∇log π of KL(π ‖ base) is put in its place.
    `k3`: exp(-d) - 1 + d with d = log π - log base (GRPO, arXiv 2402.03300, eq. 4): never negative,
    small variance; its gradient is that of KL(base ‖ π).
    """
    difference_N = logprobs_N - base_logprobs_N
    if kind == "k3":
        # d is about 1e-4 while π is near the base: exp(-d) - 1 + d, about d² / 2, would be less
        # than the rounding of exp(-d) in fp32 (6e-8), and as often negative as not.
        return torch.expm1(-difference_N) + difference_N
    score_N = difference_N.detach() * logprobs_N
    return difference_N.detach() + score_N - score_N.detach()


def importance_ratio(
    logprobs_N: torch.Tensor, engine_logprobs_N: torch.Tensor, cap: float
) -> torch.Tensor:
    """min(π_learner / π_engine, cap) per token, without gradient; ones if `cap` is 0.

    Truncated importance sampling corrects for the engine's other kernels and dtype: it is near 1
    while both run the same policy.
    """
    if cap == 0:
        return torch.ones_like(engine_logprobs_N)
    # exp is inf from a difference of 89 on; the cap takes that in, so no product with A is NaN.
    return torch.exp(logprobs_N.detach() - engine_logprobs_N).clamp(max=cap)


def reinforce(
    terms: TokenTerms,
    ratio_N: torch.Tensor,
    advantages_N: torch.Tensor,
    weights_N: torch.Tensor,
    kl_coef: float,
) -> torch.Tensor:
    """Σ_n w_n (-ρ_n A_n log π_n + λ KL_n): REINFORCE with a KL penalty (Transformer², eq. 2)."""
    # Departs from eq. 2 by ρ, since there the sampler is π itself, and by A in the place of r. With
    # `loss.ratio_cap = 0` and `loss.advantage = "none"` it is eq. 2.
    per_token_N = -ratio_N * advantages_N * terms.logprobs_N
    if kl_coef:
        per_token_N = per_token_N + kl_coef * terms.kl_N
    return (weights_N * per_token_N).sum()
