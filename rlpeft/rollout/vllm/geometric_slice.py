"""HypLoRA and MoSLoRA in a slice of a fused layer, whole or one worker's part of it.

T token, M out_features of the slice, N in_features, R rank.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

from rlpeft.adapters.lowrank.layer import LowRankLayer, merge_refusal
from rlpeft.errors import EngineError
from rlpeft.rollout.vllm.shard import Shard
from rlpeft.rollout.vllm.slice_adapters import Base


class GeometricSlice:
    """HypLoRA (arXiv 2410.04010) or MoSLoRA (arXiv 2602.14490): the PEFT layer's own update.

    Its update depends on the token, so there is no matrix that does the same. Products with x are
    in the dtype of the layer's factors; what is sent, norms and gains are float32.

    A worker that holds rows of the weight has all of x: it gives its rows of the update. One that
    holds columns lacks the norm of x, A x and what the router reads. They are added up over the
    workers, and each makes the share of the update that comes of some of its ranks.

    Args:
        layer: a PEFT layer around a stand-in for the whole slice, its adapter named `default`.
        shard: the part of the slice that is this worker's.
    """

    def __init__(self, layer: LowRankLayer, shard: Shard) -> None:
        self.layer, self.bends_input = layer.eval().requires_grad_(False), False
        self.shard = shard
        named = ((name, getattr(layer, name)) for name in layer.adapter_layer_names)
        self.own = {name: p["default"].data for name, p in named if "default" in p}
        # The very tensors where they are float32.
        self.tensors = {name: tensor.float() for name, tensor in self.own.items()}
        with torch.no_grad():
            if shard.splits_columns:
                self.layer.terms("default")
            else:
                self.layer.inference_terms("default")
            self.layer.renew()  # from now on rewritten in place

    def refresh(self) -> None:
        for name, tensor in self.own.items():
            tensor.copy_(self.tensors[name])
        self.layer.renew()

    def partial(self, x: torch.Tensor, base: Base) -> torch.Tensor | None:
        return torch.cat(self._sums(x), -1) if self.shard.splits_columns else None

    def apply(self, x: torch.Tensor, base: Base, total: torch.Tensor | None = None) -> torch.Tensor:
        y = base(x)
        if not self.shard.splits_columns:
            update = self.layer.update(x, "default")[..., self.shard.rows]
            return y + update.to(y.dtype)
        parts = self._sums(x)
        if total is None:
            total = self.shard.add(torch.cat(parts, -1))
        z, *sums = total.split([part.shape[-1] for part in parts], -1)
        bent = self.layer.bend_by(tuple(sums), z, self._terms())
        up_MR = self.layer.up("default")
        mine = self.shard.part(up_MR.shape[1])
        return y + F.linear(bent[..., mine].to(up_MR.dtype), up_MR[:, mine]).to(y.dtype)

    def _sums(self, x: torch.Tensor) -> list[torch.Tensor]:
        """This worker's addends of A x and of what else the update reads of x, in float32."""
        down_RN = self.layer.down("default")[:, self.shard.columns]
        x = x.to(down_RN.dtype)
        others = self.layer.sums(x, self._terms(), self.shard.columns)
        return [F.linear(x, down_RN).float(), *(other.float() for other in others)]

    def _terms(self) -> Any:
        return self.layer.terms("default", all_values=False)

    def bias(self, bias_M: torch.Tensor) -> torch.Tensor:
        return bias_M

    def dense(self, weight_MN: torch.Tensor) -> torch.Tensor:
        raise EngineError(merge_refusal(self.layer.method))


def geometric_slice(
    config: PeftConfig,
    name: str,
    weight_MN: torch.Tensor,
    *,
    shard: Shard | None = None,
    **_: Any,
) -> GeometricSlice:
    """As `rlpeft.adapters.method.Slice.make`: the layer of their PEFT tuner, around a stand-in."""
    shard = shard or Shard.whole(weight_MN)
    rows, columns = shard.shape
    stand_in = torch.nn.Linear(columns, rows, bias=False, device="meta")
    # One number of memory, on the weight's device, and in its dtype, which the factors take.
    blank_MN = weight_MN.new_zeros(1).expand(rows, columns)
    stand_in.weight = torch.nn.Parameter(blank_MN, requires_grad=False)
    layer = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type].tuner_layer_cls
    with torch.random.fork_rng(devices=[]):  # its random start is overwritten by the first sync
        return GeometricSlice(layer(stand_in, "default", config, name), shard)
