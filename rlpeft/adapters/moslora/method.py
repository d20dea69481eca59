"""MoSLoRA: its record. No matrix is its update, so it has no change that could be read, mixed or
merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from rlpeft.adapters.lowrank.method import AUXILIARY, SLICE, TRAINED_BY, curved
from rlpeft.adapters.method import Method
from rlpeft.adapters.moslora.config import MoSLoraConfig
from rlpeft.recipe.adapter import MoSLoraAdapter


def moslora_config(
    adapter: MoSLoraAdapter, base: nn.Module, where: Mapping[str, Any]
) -> MoSLoraConfig:
    """Our PEFT config."""
    return MoSLoraConfig(
        spaces=list(adapter.spaces),
        map=adapter.map,
        router=adapter.router,
        curvature=adapter.curvature,
        balance_coef=adapter.balance_coef,
        **curved(adapter, where),
    )


MOSLORA = Method(
    name="moslora",
    label="MoSLoRA",
    peft_type="MOSLORA",
    is_ours=True,
    config=moslora_config,
    trained_by=TRAINED_BY,
    zero="moslora_B",
    auxiliary=AUXILIARY,
    nears_lora=True,
    slice=SLICE,
)
