"""HypLoRA: its record. No matrix is its update, so it has no change that could be read, mixed or
merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from rlpeft.adapters.hyplora.config import HypLoraConfig
from rlpeft.adapters.lowrank.method import AUXILIARY, SLICE, TRAINED_BY, curved
from rlpeft.adapters.method import Method
from rlpeft.recipe.adapter import HypLoraAdapter


def hyplora_config(
    adapter: HypLoraAdapter, base: nn.Module, where: Mapping[str, Any]
) -> HypLoraConfig:
    """Our PEFT config."""
    return HypLoraConfig(
        variant=adapter.variant,
        norm_mode=adapter.norm_mode,
        curvature=adapter.curvature,
        **curved(adapter, where),
    )


HYPLORA = Method(
    name="hyplora",
    label="HypLoRA",
    peft_type="HYPLORA",
    is_ours=True,
    config=hyplora_config,
    trained_by=TRAINED_BY,
    zero="hyplora_B",
    auxiliary=AUXILIARY,
    nears_lora=True,
    slice=SLICE,
)
