"""From a spec to the `hf` engine."""

from __future__ import annotations

from rlpeft.adapters.policy import attach_adapter
from rlpeft.models.base import BaseModel
from rlpeft.models.device import own_device
from rlpeft.recipe.rollout import EngineSpec
from rlpeft.rollout.hf.engine import HfEngine


def build(spec: EngineSpec, base: BaseModel) -> HfEngine:
    """The engine, on this process's own device."""
    device = own_device()
    policy = attach_adapter(base.model(spec.dtype).to(device), spec.adapter, seed=spec.seed)
    return HfEngine(
        policy.to(device),
        base.tokenizer,
        eos_ids=base.eos_ids,
        batch_size=spec.rollout.batch_size,
        processor=base.processor,
    )
