"""The HypLoRA layer around a frozen linear layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from rlpeft.adapters.hyplora.config import HypLoraConfig
from rlpeft.adapters.hyplora.functional import FusedRotation, Terms, bend, bend_by, fuse, inner2
from rlpeft.adapters.lowrank.config import start_logit
from rlpeft.adapters.lowrank.functional import bounded_magnitude, gram, squared_norm, wide
from rlpeft.adapters.lowrank.layer import ForwardRecord, LowRankLayer


class HypLoraLinear(LowRankLayer):
    """y = W x + b + (α/r) log₀(B A exp₀(x̃)) (arXiv 2410.04010); see `functional`.

    Attributes:
        hyplora_A: adapter name -> [R, in_features] (boost: one more column, for time).
        hyplora_B: adapter name -> [out_features, R] (boost: one more column, for time).
        hyplora_curvature: adapter name -> [1] fp32: the logit of a learned curvature, or the
            fixed curvature itself, frozen.
        hyplora_scale: adapter name -> [1] fp32, logarithm (`norm_mode` scale and unit).
    """

    method = "HypLoRA"
    adapter_layer_names = ("hyplora_A", "hyplora_B", "hyplora_curvature", "hyplora_scale")
    other_param_names = ("config", "scaling")
    curvature_names = ("hyplora_curvature", "hyplora_scale")

    hyplora_A: nn.ParameterDict
    hyplora_B: nn.ParameterDict
    hyplora_curvature: nn.ParameterDict
    hyplora_scale: nn.ParameterDict

    def create_parameters(self, adapter_name: str, config: HypLoraConfig) -> None:
        """A Kaiming-uniform, B zero; curvature and scale are set by `reset_curvature`."""
        rank, time = config.rank_of(self.module_name), int(config.variant == "boost")
        self.hyplora_A[adapter_name] = self.new_factor(rank, self.in_features + time, zero=False)
        self.hyplora_B[adapter_name] = self.new_factor(self.out_features, rank + time, zero=True)
        self.hyplora_curvature[adapter_name] = nn.Parameter(torch.zeros(1))
        if not config.learn_curvature:
            self.frozen_peft_weight_names[adapter_name] = ("hyplora_curvature",)
        if config.norm_mode != "none":
            self.hyplora_scale[adapter_name] = nn.Parameter(torch.zeros(1))

    def reset_curvature(self, adapter_name: str) -> None:
        """Set curvature and scale to their start."""
        config = self.config[adapter_name]
        start = config.curvature
        if config.learn_curvature:
            start = start_logit(-config.curvature, config.curvature_bounds)
        nn.init.constant_(self.hyplora_curvature[adapter_name], start)
        if config.norm_mode == "scale":
            nn.init.constant_(self.hyplora_scale[adapter_name], math.log(self.in_features) / 2)

    def down(self, adapter_name: str) -> torch.Tensor:
        """A [R, in_features] on the space coordinates."""
        return self.hyplora_A[adapter_name][:, : self.in_features]

    def up(self, adapter_name: str) -> torch.Tensor:
        """B [out_features, R] (boost: [out_features, R+1], time last)."""
        return self.hyplora_B[adapter_name]

    def kappa(self, adapter_name: str) -> torch.Tensor:
        """The curvature now, [1] fp32, <= 0."""
        config, parameter = self.config[adapter_name], self.hyplora_curvature[adapter_name]
        if not config.learn_curvature:
            return wide(parameter)
        return -bounded_magnitude(parameter, config.curvature_bounds)

    def curvatures(self, adapter_name: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(kappa, its start), [1] each, or `None` if it is fixed."""
        config = self.config[adapter_name]
        if not config.learn_curvature:
            return None
        kappa = self.kappa(adapter_name)
        return kappa, torch.full_like(kappa, config.curvature)

    def build_terms(self, adapter_name: str) -> Terms:
        """Everything `bend` needs beside x and z."""
        config = self.config[adapter_name]
        inner = None
        if adapter_name in self.hyplora_scale:
            inner = inner2(self.hyplora_scale[adapter_name], config.norm_mode)
        return Terms(
            gram_RR=gram(self.up(adapter_name)),
            kappa=self.kappa(adapter_name),
            inner2=inner,
            time_R=self.hyplora_A[adapter_name][:, -1] if config.variant == "boost" else None,
            norm_mode=config.norm_mode,
            restore_scale=config.restore_scale,
            max_radius=config.max_radius,
            scaling=self.scaling[adapter_name],
        )

    def fuse(self, adapter_name: str) -> FusedRotation | None:
        """For `rotation` with `max_radius`, unless `unit`."""
        return fuse(self.down(adapter_name), self.up(adapter_name), self.build_terms(adapter_name))

    def bend(
        self, x: torch.Tensor, z: torch.Tensor, terms: Any, adapter_name: str
    ) -> tuple[torch.Tensor, ForwardRecord]:
        """`functional.bend`, with a record of the gains."""
        bent, g = bend(x, z, terms)
        return bent, ForwardRecord(("hyperbolic",), (g.detach(),))

    def sums(self, x: torch.Tensor, terms: Any, columns: slice) -> tuple[torch.Tensor, ...]:
        """‖x‖²."""
        return (squared_norm(x),)

    def bend_by(self, sums: tuple[torch.Tensor, ...], z: torch.Tensor, terms: Any) -> torch.Tensor:
        """`functional.bend_by`."""
        return bend_by(sums[0], z, terms)[0]
