"""What the records of the geometric methods share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlpeft.adapters.lowrank.model import LowRankModel
from rlpeft.adapters.method import Auxiliary, Slice
from rlpeft.recipe.adapter import GeometricAdapter

TRAINED_BY = frozenset({"curvature_reg", "balance_coef"})

SLICE = Slice(make="rlpeft.rollout.vllm.geometric_slice:geometric_slice", is_guest=True)


def metrics(tuner: LowRankModel) -> dict[str, float]:
    """Of the last micro-batch: gains and their histogram, curvatures, router."""
    return tuner.adapter_metrics() | tuner.gain_shares()


AUXILIARY = Auxiliary(
    loss=lambda tuner, token_mask: tuner.auxiliary_loss(token_mask),
    metrics=metrics,
    check=LowRankModel.check_finite,
)


def curved(adapter: GeometricAdapter, where: Mapping[str, Any]) -> dict[str, Any]:
    """Options of both configs."""
    return {
        **where,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "learn_curvature": adapter.learn_curvature,
        "curvature_bounds": adapter.curvature_bounds,
        "curvature_reg": adapter.curvature_reg,
    }
