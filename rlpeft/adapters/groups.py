"""Optimizer groups: curvatures and routers want other learning rates than matrices do.

Works with every PEFT method; those without curvatures or routers get a single group.
"""

from __future__ import annotations

from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float = 0.0,
    curvature_lr_ratio: float = 0.1,
    router_lr_ratio: float = 1.0,
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer, over the trainable parameters of a PEFT model.

    Curvatures and log-scales learn at `curvature_lr_ratio * lr`, routers at
    `router_lr_ratio * lr`, both without weight decay: decaying a curvature's logit would pull it
    to the middle of its bounds. Vectors are decayed as matrices are: SVF's z is one.

    Returns:
        Non-empty groups with `name`: "adapter", "curvature", "router"; every trainable parameter
        once.
    """
    special = _special_parameters(model)
    groups: dict[str, dict[str, Any]] = {
        "adapter": {"lr": lr, "weight_decay": weight_decay},
        "curvature": {"lr": lr * curvature_lr_ratio, "weight_decay": 0.0},
        "router": {"lr": lr * router_lr_ratio, "weight_decay": 0.0},
    }
    for parameter in model.parameters():
        if parameter.requires_grad:
            name = special.get(parameter, "adapter")
            groups[name].setdefault("params", []).append(parameter)
    return [{**group, "name": name} for name, group in groups.items() if "params" in group]


def _special_parameters(model: nn.Module) -> dict[nn.Parameter, str]:
    special: dict[nn.Parameter, str] = {}
    for layer in model.modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        for group, attribute in (("curvature", "curvature_names"), ("router", "router_names")):
            for name in getattr(layer, attribute, ()):
                special |= dict.fromkeys(getattr(layer, name).parameters(), group)
    return special
