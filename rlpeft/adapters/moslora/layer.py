"""The MoSLoRA layer around a frozen linear layer."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from rlpeft.adapters.lowrank.config import start_logit
from rlpeft.adapters.lowrank.functional import bounded_magnitude, gram, squared_norm, wide
from rlpeft.adapters.lowrank.layer import ForwardRecord, LowRankLayer
from rlpeft.adapters.moslora.config import HIDDEN, MoSLoraConfig
from rlpeft.adapters.moslora.functional import (
    FusedMixture,
    RouterWeights,
    Terms,
    bend,
    bend_by,
    fuse,
    route_by,
)
from rlpeft.adapters.moslora.spaces import SPACES


class MoSLoraLinear(LowRankLayer):
    """y = W x + b + Σ_e (low-rank update of expert e, in its space); see `functional`.

    Attributes:
        moslora_A: adapter name -> the experts' A, stacked, [R, in_features].
        moslora_B: adapter name -> the experts' B, side by side, [out_features, R].
        moslora_curvature: adapter name -> [C] fp32, experts in order: logits of learned
            curvatures, or the fixed |kappa|, frozen. Absent where no expert is curved.
        moslora_router, moslora_router_bias: adapter name -> the router's (first) layer.
        moslora_router_out, moslora_router_out_bias: adapter name -> second layer of `mlp`.
    """

    method = "MoSLoRA"
    router_names = (
        "moslora_router",
        "moslora_router_bias",
        "moslora_router_out",
        "moslora_router_out_bias",
    )
    adapter_layer_names = ("moslora_A", "moslora_B", "moslora_curvature", *router_names)
    other_param_names = ("config", "scaling")
    curvature_names = ("moslora_curvature",)

    moslora_A: nn.ParameterDict
    moslora_B: nn.ParameterDict
    moslora_curvature: nn.ParameterDict
    moslora_router: nn.ParameterDict
    moslora_router_bias: nn.ParameterDict
    moslora_router_out: nn.ParameterDict
    moslora_router_out_bias: nn.ParameterDict

    def create_parameters(self, adapter_name: str, config: MoSLoraConfig) -> None:
        """A Kaiming-uniform, B zero, a uniform router; curvatures by `reset_curvature`."""
        num = len(config.spaces)
        rank = num * config.expert_rank(
            self.module_name, in_features=self.in_features, out_features=self.out_features
        )
        self.moslora_A[adapter_name] = self.new_factor(rank, self.in_features, zero=False)
        self.moslora_B[adapter_name] = self.new_factor(self.out_features, rank, zero=True)
        if config.num_curvatures:
            self.moslora_curvature[adapter_name] = nn.Parameter(torch.zeros(config.num_curvatures))
        if not config.learn_curvature:
            self.frozen_peft_weight_names[adapter_name] = ("moslora_curvature",)
        self._create_router(adapter_name, config.router, rank=rank, num_experts=num)

    def _create_router(self, adapter_name: str, kind: str, *, rank: int, num_experts: int) -> None:
        """The last layer is zero, so that all experts start with the same share."""
        width = rank if kind == "z" else self.in_features
        rows = HIDDEN if kind == "mlp" else num_experts
        self.moslora_router[adapter_name] = self.new_factor(rows, width, zero=kind != "mlp")
        self.moslora_router_bias[adapter_name] = nn.Parameter(torch.zeros(rows))
        if kind == "mlp":
            self.moslora_router_out[adapter_name] = self.new_factor(num_experts, HIDDEN, zero=True)
            self.moslora_router_out_bias[adapter_name] = nn.Parameter(torch.zeros(num_experts))

    def reset_curvature(self, adapter_name: str) -> None:
        """Set curvatures to their start."""
        config = self.config[adapter_name]
        if adapter_name in self.moslora_curvature:
            start = config.curvature
            if config.learn_curvature:
                start = start_logit(start, config.curvature_bounds)
            nn.init.constant_(self.moslora_curvature[adapter_name], start)

    def down(self, adapter_name: str) -> torch.Tensor:
        """The experts' A, stacked, [R, in_features]."""
        return self.moslora_A[adapter_name]

    def up(self, adapter_name: str) -> torch.Tensor:
        """The experts' B, side by side, [out_features, R]."""
        return self.moslora_B[adapter_name]

    def magnitudes(self, adapter_name: str) -> torch.Tensor:
        """|kappa| of all curvatures, experts in order, [C] fp32."""
        config, parameter = self.config[adapter_name], self.moslora_curvature[adapter_name]
        if not config.learn_curvature:
            return wide(parameter)
        return bounded_magnitude(parameter, config.curvature_bounds)

    def kappas(self, adapter_name: str) -> tuple[tuple[torch.Tensor, ...], ...]:
        """Signed curvatures, one tuple an expert, [1] each."""
        config = self.config[adapter_name]
        each = iter(self.magnitudes(adapter_name).split(1) if config.num_curvatures else ())
        return tuple(
            tuple(sign * next(each) for sign in SPACES[space].signs) for space in config.spaces
        )

    def curvatures(self, adapter_name: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(signed kappas, their starts), [C] each, or `None` if none is learned."""
        config = self.config[adapter_name]
        if not (config.learn_curvature and config.num_curvatures):
            return None
        now = torch.cat([kappa for expert in self.kappas(adapter_name) for kappa in expert])
        return now, torch.sign(now) * config.curvature

    def build_terms(self, adapter_name: str) -> Terms:
        """Everything `bend` needs beside x and z."""
        config = self.config[adapter_name]
        up = self.up(adapter_name)
        return Terms(
            spaces=tuple(config.spaces),
            grams=tuple(gram(part) / self.in_features for part in up.chunk(len(config.spaces), -1)),
            kappas=self.kappas(adapter_name),
            router=self._router(adapter_name, reads_z=config.router == "z"),
            map=config.map,
            inverse_scale=1 / math.sqrt(self.in_features),
            scaling=self.scaling[adapter_name],
        )

    def _router(self, adapter_name: str, *, reads_z: bool) -> RouterWeights:
        inner, bias, outer, outer_bias = (getattr(self, name) for name in self.router_names)
        second = None
        if adapter_name in outer:
            second = (outer[adapter_name], outer_bias[adapter_name])
        return RouterWeights(reads_z, (inner[adapter_name], bias[adapter_name]), second)

    def fuse(self, adapter_name: str) -> FusedMixture | None:
        """For map `proj` in spaces of constant curvature."""
        return fuse(self.down(adapter_name), self.up(adapter_name), self.build_terms(adapter_name))

    def bend(
        self, x: torch.Tensor, z: torch.Tensor, terms: Any, adapter_name: str
    ) -> tuple[torch.Tensor, ForwardRecord]:
        """`functional.bend`, with a record of gains and shares."""
        config = self.config[adapter_name]
        bent, gains, shares = bend(x, z, terms)
        shares = shares if config.balance_coef else shares.detach()
        return bent, ForwardRecord(config.expert_names(), tuple(g.detach() for g in gains), shares)

    def sums(self, x: torch.Tensor, terms: Any, columns: slice) -> tuple[torch.Tensor, ...]:
        """‖x‖², and what the router reads of x."""
        if terms.router.reads_z:
            return (squared_norm(x),)
        weight = terms.router.inner[0][:, columns]
        return squared_norm(x), F.linear(x.to(weight.dtype), weight)

    def bend_by(self, sums: tuple[torch.Tensor, ...], z: torch.Tensor, terms: Any) -> torch.Tensor:
        """`functional.bend_by`."""
        norm2, *read = sums
        weight = terms.router.inner[0]
        product = read[0].to(weight.dtype) if read else F.linear(z.to(weight.dtype), weight)
        return bend_by(norm2, z, route_by(product, terms.router, terms.inverse_scale), terms)[0]
