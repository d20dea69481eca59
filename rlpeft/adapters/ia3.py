"""IA3, PEFT's own: its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft import IA3Config
from torch import nn

from rlpeft.adapter_state import AdapterState, by_module
from rlpeft.adapters.method import Change, Method, Slice
from rlpeft.adapters.targets import is_transposed
from rlpeft.recipe.adapter import Ia3Adapter


def ia3_config(adapter: Ia3Adapter, base: nn.Module, where: Mapping[str, Any]) -> IA3Config:
    """PEFT's config."""
    return IA3Config(
        feedforward_modules=list(adapter.feedforward),
        fan_in_fan_out=is_transposed(base),
        **where,
    )


def scales(state: AdapterState, base: str) -> dict[str, torch.Tensor]:
    """Module -> l - 1."""
    trained = by_module(state.tensors, "ia3_l")
    return {module: scale.float().flatten() - 1 for module, scale in trained.items()}


IA3 = Method(
    name="ia3",
    label="IA3",
    peft_type="IA3",
    is_ours=False,
    config=ia3_config,
    advice=(
        " IA3 scales keys, values and what enters the MLP's last layer: name the layers that make "
        "them in adapter.targets, and that last one in adapter.feedforward, too."
    ),
    change=Change(read=scales, words="l - 1"),
    is_mergeable=True,
    slice=Slice(make="rlpeft.rollout.vllm.slice_adapters:scale_slice", forms=frozenset({"dense"})),
)
