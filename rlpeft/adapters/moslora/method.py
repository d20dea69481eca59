"""MoSLoRA: its record. No matrix is its update, so it has no change that could be read, mixed or
merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from rlpeft.adapters.linear import linear_shape
from rlpeft.adapters.lowrank.method import AUXILIARY, SLICE, TRAINED_BY, curved
from rlpeft.adapters.method import Method
from rlpeft.adapters.moslora.config import MoSLoraConfig
from rlpeft.adapters.targets import adapted
from rlpeft.errors import ConfigError
from rlpeft.recipe.adapter import MoSLoraAdapter


def moslora_config(
    adapter: MoSLoraAdapter, base: nn.Module, where: Mapping[str, Any]
) -> MoSLoraConfig:
    """Our PEFT config.

    Raises:
        ConfigError: `adapter.rank` leaves some module's experts none.
    """
    config = MoSLoraConfig(
        spaces=list(adapter.spaces),
        map=adapter.map,
        router=adapter.router,
        curvature=adapter.curvature,
        balance_coef=adapter.balance_coef,
        **curved(adapter, where),
    )
    _require_rank(config, base)
    return config


def _require_rank(config: MoSLoraConfig, base: nn.Module) -> None:
    """Refuse a rank that is too small, by the model's skeleton alone, and say which is enough."""
    shapes = {
        name: linear_shape(base.get_submodule(name), "MoSLoRA", name)
        for name in adapted(base, config)
    }
    least = {name: config.least_rank(*shape) for name, shape in shapes.items()}
    most = max(least, key=lambda name: least[name], default=None)
    if most is not None and config.r < least[most]:
        inputs, outputs = shapes[most]
        raise ConfigError(
            f"adapter.rank must be at least {least[most]} for {len(config.spaces)} adapter.spaces "
            f"in {most!r} (in={inputs}, out={outputs}), got {config.r}: each expert needs a rank "
            f"of at least 1 beside the router ({config.router!r}). Raise it, list fewer spaces, or "
            "take adapter.router = 'z'."
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
