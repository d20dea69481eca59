"""MoSLoRA as a PEFT tuner."""

from __future__ import annotations

import torch

from rlpeft.adapters.lowrank.layer import ForwardRecord, LowRankLayer
from rlpeft.adapters.lowrank.model import LLAMA_LIKE, LowRankModel
from rlpeft.adapters.moslora.layer import MoSLoraLinear
from rlpeft.errors import ModelError


class MoSLoraModel(LowRankModel):
    """Wraps every targeted linear layer in a `MoSLoraLinear`.

    >>> model = get_peft_model(base, MoSLoraConfig(target_modules="all-linear"))  # doctest: +SKIP
    """

    prefix = "moslora_"
    tuner_layer_cls = MoSLoraLinear
    # The reviews of the paper say that q, k and v are left out; all projections of other types.
    target_module_mapping = {
        kind: ["o_proj", "gate_proj", "up_proj", "down_proj"] for kind in LLAMA_LIKE
    }

    def auxiliary_loss(self, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """The curvature's prior, plus the balance of the routers: mean over modules of
        balance_coef * E Σ_e p̄_e², p̄ the mean probabilities over the tokens of the last training
        forward.

        Args:
            token_mask: [B, T], nonzero at the tokens that count (padding left out).

        Raises:
            ModelError: there was no forward, the mask does not fit it, or checkpointing cut the
                router's graph.
        """
        loss = super().auxiliary_loss(token_mask)
        records, balances = list(self.forward_records()), []
        if not records and any(self.peft_config[n].balance_coef for n in self.active_adapters):
            raise ModelError(
                "the balance loss needs a forward with gradient before it, there was none. Call "
                "auxiliary_loss after the forward, or set balance_coef=0."
            )
        for layer, name, record in records:
            coefficient = layer.config[name].balance_coef
            if coefficient:
                mean_E = _token_mean(layer, name, record, token_mask)
                balances.append(coefficient * len(mean_E) * mean_E.square().sum())
        return loss + torch.stack(balances).mean() if balances else loss

    @torch.no_grad()
    def adapter_metrics(self) -> dict[str, float]:
        """Gains, curvatures, the routers' mean entropy (nats) and the experts' mean shares."""
        metrics = super().adapter_metrics()
        entropies: list[torch.Tensor] = []
        used: dict[str, list[torch.Tensor]] = {}
        for _, _, record in self.forward_records():
            assert record.shares is not None
            shares_TE = record.shares.detach().flatten(0, -2)
            entropies.append(-torch.xlogy(shares_TE, shares_TE).sum(-1).mean())
            for space, share in zip(record.spaces, shares_TE.mean(0), strict=True):
                used.setdefault(space, []).append(share)
        if entropies:
            metrics["router/entropy"] = torch.stack(entropies).mean().item()
        return metrics | {
            f"router/share/{space}": torch.stack(each).mean().item() for space, each in used.items()
        }


def _token_mean(
    layer: LowRankLayer, adapter_name: str, record: ForwardRecord, token_mask: torch.Tensor | None
) -> torch.Tensor:
    shares = record.shares
    assert isinstance(layer, MoSLoraLinear)
    assert shares is not None
    if layer.moslora_router[adapter_name].requires_grad and not shares.requires_grad:
        raise ModelError(
            f"the balance loss needs the router's graph, which the forward of "
            f"{layer.module_name!r} did not keep: reentrant gradient checkpointing drops it. Pass "
            "gradient_checkpointing_kwargs={'use_reentrant': False}, or set balance_coef=0."
        )
    shares_TE = shares.flatten(0, -2)
    if token_mask is None:
        return shares_TE.mean(0)
    if token_mask.numel() != len(shares_TE):
        raise ModelError(
            f"token_mask must have one entry for each of the {len(shares_TE)} tokens of the last "
            f"forward, got shape {tuple(token_mask.shape)}. Call auxiliary_loss right after the "
            "forward it belongs to."
        )
    mask_T = token_mask.reshape(-1).to(shares_TE.dtype)
    # Of a micro-batch without counted tokens: shares of 0, not 0 / 0.
    return (mask_T @ shares_TE) / mask_T.sum().clamp_min(1)
