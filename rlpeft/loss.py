"""The objective: E[A log π(y|x)] - λ KL(π ‖ base) (Transformer², eq. 2), token by token.

Everything here is fp32 and per completion token (N); how tokens are weighted is decided in
`rlpeft.packing`. Full-vocabulary terms exist for `logit_chunk` tokens at a time and are computed
again in the backward pass: a whole batch of [N, V] in fp32 is never in memory.

N completion token, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.utils.checkpoint import checkpoint

KlKind = Literal["full", "full_reverse", "k1", "k3"]
Head = Callable[[torch.Tensor], torch.Tensor]
"""Hidden states [N, D] to logits [N, V]."""


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What the objective needs of each completion token; all fp32 [N].

    Attributes:
        logprobs_N: log π of the sampled token, at the sampling temperature.
        kl_N: KL to the base as named by `KlKind`; zeros if not asked for.
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
        base_hidden_ND: those of the base model, or `None` for no KL.
        temperature: logits are divided by it, for policy and base alike.
    """
    base = [None] * len(hidden_ND) if base_hidden_ND is None else base_hidden_ND.split(chunk)
    parts = [
        checkpoint(_chunk_terms, h, b, t, head, temperature, kl, use_reentrant=False)
        for h, b, t in zip(hidden_ND.split(chunk), base, targets_N.split(chunk), strict=False)
    ]
    return TokenTerms(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _chunk_terms(
    hidden_ND: torch.Tensor,
    base_hidden_ND: torch.Tensor | None,
    targets_N: torch.Tensor,
    head: Head,
    temperature: float,
    kl: KlKind,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    log_pi_NV = torch.log_softmax(head(hidden_ND).float() / temperature, -1)
    logprobs_N = _pick(log_pi_NV, targets_N)
    with torch.no_grad():
        entropy_N = -(log_pi_NV.exp() * log_pi_NV).sum(-1)
    if base_hidden_ND is None:
        return logprobs_N, torch.zeros_like(entropy_N), entropy_N
    with torch.no_grad():
        log_base_NV = torch.log_softmax(head(base_hidden_ND).float() / temperature, -1)
    if kl == "full":
        kl_N = full_kl(log_pi_NV, log_base_NV)
    elif kl == "full_reverse":
        kl_N = full_kl(log_base_NV, log_pi_NV)
    else:
        kl_N = sampled_kl(logprobs_N, _pick(log_base_NV, targets_N), kl)
    return logprobs_N, kl_N, entropy_N


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
    `k3`: exp(-d) - 1 + d with d = log π - log base, as in GRPO: never negative, small variance;
    its gradient is that of KL(base ‖ π).
    """
    difference_N = logprobs_N - base_logprobs_N
    if kind == "k3":
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
    return torch.exp(logprobs_N.detach() - engine_logprobs_N).clamp(max=cap)


def reinforce(
    terms: TokenTerms,
    ratio_N: torch.Tensor,
    advantages_N: torch.Tensor,
    weights_N: torch.Tensor,
    kl_coef: float,
) -> torch.Tensor:
    """Σ_n w_n (-ρ_n A_n log π_n + λ KL_n): REINFORCE with a KL penalty (Transformer², eq. 2)."""
    per_token_N = -ratio_N * advantages_N * terms.logprobs_N
    if kl_coef:
        per_token_N = per_token_N + kl_coef * terms.kl_N
    return (weights_N * per_token_N).sum()
