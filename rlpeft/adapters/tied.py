"""Weights that two modules share: a merge into one of them would change the other."""

from __future__ import annotations

from collections import Counter
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn


def untie_adapted(model: Any) -> bool:
    """Give each adapted layer a copy of a weight that another module has too.

    The config then says that head and embedding are two: `tie_word_embeddings`.

    Returns:
        Whether there was any.
    """
    parameters = [p for module in model.modules() for p in module.parameters(recurse=False)]
    owners = Counter(map(id, parameters))
    layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
    shared = [
        (layer, name, parameter)
        for layer in {id(base): base for base in (m.get_base_layer() for m in layers)}.values()
        for name, parameter in layer.named_parameters(recurse=False)
        if owners[id(parameter)] > 1
    ]
    for layer, name, parameter in shared:
        setattr(layer, name, nn.Parameter(parameter.detach().clone(), requires_grad=False))
    if shared:
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = False
    return bool(shared)
