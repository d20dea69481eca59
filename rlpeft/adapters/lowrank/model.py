"""The part of a geometric tuner that does not know its geometry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from rlpeft.adapters.lowrank.config import LowRankConfig
from rlpeft.adapters.lowrank.layer import ForwardRecord, LowRankLayer, merge_refusal
from rlpeft.adapters.rows import MixedBatches
from rlpeft.adapters.targets import DefaultTargets, check_forward_is_used
from rlpeft.errors import ModelError

LLAMA_LIKE = (
    "gemma",
    "gemma2",
    "gemma3_text",
    "llama",
    "mistral",
    "olmo2",
    "qwen2",
    "qwen3",
    "smollm3",
)
"""Model types whose projections are named as in Llama."""

HISTOGRAM_EDGES = (0.0, 0.5, 0.9, 0.99, 0.999, 1.001, 1.01, 1.1, 2.0, 10.0, float("inf"))
"""Edges of the gain histograms: fine around 1, where the adapter is a plain LoRA."""


class LowRankModel(DefaultTargets, MixedBatches):
    """Wraps every targeted linear layer in `tuner_layer_cls`, a `LowRankLayer`."""

    tuner_layer_cls: type[LowRankLayer]

    def _create_and_replace(
        self,
        peft_config: LowRankConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **_: Any,
    ) -> None:
        check_forward_is_used(parent, current_key)
        if isinstance(target, self.tuner_layer_cls):
            target.update_layer(adapter_name, config=peft_config)
            return
        layer = self.tuner_layer_cls(target, adapter_name, peft_config, current_key)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def _check_merge_allowed(self) -> None:
        raise ModelError(merge_refusal(self.tuner_layer_cls.method))

    def adapted_layers(self) -> Iterator[LowRankLayer]:
        """All adapted layers, in the order of the model."""
        return (m for m in self.model.modules() if isinstance(m, self.tuner_layer_cls))

    def clear_cache(self) -> None:
        """Forget cached terms of all layers: see `LowRankLayer.clear_cache`."""
        for layer in self.adapted_layers():
            layer.clear_cache()

    def auxiliary_loss(self, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """What the method adds to the training loss, a float32 scalar with gradient.

        Call it once after each forward and before its backward; with several micro-batches weight
        it by the micro-batch's share of the step. Here: the curvature's prior,
        mean over all learned curvatures of curvature_reg * (kappa - start)².

        Args:
            token_mask: [B, T], nonzero at the tokens that count (padding left out).
        """
        terms = [
            layer.config[name].curvature_reg * (kappa - start).square()
            for layer in self.adapted_layers()
            for name in self.active_adapters
            if layer.config.get(name) is not None and layer.config[name].curvature_reg
            for kappa, start in _present(layer.curvatures(name))
        ]
        if not terms:
            return next(self.model.parameters()).new_zeros((), dtype=torch.float32)
        return torch.cat(terms).mean()

    def forward_records(self) -> Iterator[tuple[LowRankLayer, str, ForwardRecord]]:
        """(layer, adapter name, record) of the last training forward, active adapters only."""
        for layer in self.adapted_layers():
            for name in self.active_adapters:
                if name in layer._records:
                    yield layer, name, layer._records[name]

    @torch.no_grad()
    def check_finite(self) -> None:
        """Raise if the last training forward met a NaN or inf, naming the first such module.

        One host synchronisation; call it before the optimizer moves.

        Raises:
            ModelError: an adapted layer's input or its A x was not finite.
        """
        found = list(self.forward_records())
        if not found:
            return
        finite = torch.stack([_all_finite(record) for _, _, record in found]).tolist()
        for (layer, _, _), good in zip(found, finite, strict=True):
            if not good:
                raise ModelError(
                    f"activations must be finite, the input of {layer.module_name!r} (or its "
                    "adapter) holds NaN or inf. Look for an overflow before it (half precision?) "
                    "or lower the learning rate; no parameter has been changed."
                )

    @torch.no_grad()
    def adapter_metrics(self) -> dict[str, float]:
        """Scalars to log, from the last training forward: gains and curvatures, by expert."""
        collected: dict[str, list[torch.Tensor]] = {}
        for _, _, record in self.forward_records():
            for space, gains in zip(record.spaces, record.gains, strict=True):
                collected.setdefault(f"gain/{space}", []).append(gains.flatten().float())
        metrics: dict[str, float] = {}
        for key, parts in collected.items():
            values = torch.cat(parts)
            metrics |= {f"{key}/mean": values.mean().item(), f"{key}/max": values.max().item()}
        kappas = [
            kappa
            for layer in self.adapted_layers()
            for name in self.active_adapters
            for kappa, _ in _present(layer.curvatures(name))
        ]
        if kappas:
            every = torch.cat(kappas)
            metrics |= {"curvature/min": every.min().item(), "curvature/max": every.max().item()}
        return metrics

    @torch.no_grad()
    def gain_histograms(self) -> dict[str, list[int]]:
        """'module/space' -> tokens of the last training forward per bin of `HISTOGRAM_EDGES`."""
        edges = torch.tensor(HISTOGRAM_EDGES[1:-1])
        histograms = {}
        for layer, _, record in self.forward_records():
            for space, gains in zip(record.spaces, record.gains, strict=True):
                bins = torch.bucketize(
                    gains.flatten().float().cpu().contiguous(), edges, right=True
                )
                counts = torch.bincount(bins, minlength=len(edges) + 1)
                histograms[f"{layer.module_name}/{space}"] = counts.tolist()
        return histograms

    def gain_shares(self) -> dict[str, float]:
        """Scalars to log: share of all modules' tokens in each bin of `HISTOGRAM_EDGES`.

        `gain/hyperbolic/from_0.9`: gains from 0.9 up to the next edge. Flat experts, whose gain is
        1, are left out.
        """
        totals: dict[str, list[int]] = {}
        for key, counts in self.gain_histograms().items():
            space = key.rpartition("/")[2]
            before = totals.get(space, [0] * len(counts))
            totals[space] = [a + b for a, b in zip(before, counts, strict=True)]
        return {
            f"gain/{space}/from_{edge:g}": count / sum(counts)
            for space, counts in totals.items()
            if not space.startswith("euclidean")
            for edge, count in zip(HISTOGRAM_EDGES, counts, strict=False)
        }


def _present(
    pair: tuple[torch.Tensor, torch.Tensor] | None,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [] if pair is None else [pair]


def _all_finite(record: ForwardRecord) -> torch.Tensor:
    return torch.stack([gains.isfinite().all() for gains in record.gains]).all()
