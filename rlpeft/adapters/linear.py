"""Linear layers as they come: plain, transposed (GPT-2's Conv1D) or quantised."""

from __future__ import annotations

import torch
from peft.utils.integrations import dequantize_module_weight
from torch import nn
from transformers.pytorch_utils import Conv1D

from rlpeft.errors import ModelError


def linear_shape(module: nn.Module, method: str, module_name: str) -> tuple[int, int]:
    """(in_features, out_features) of a linear layer, plain, transposed (GPT-2) or quantised.

    Raises:
        ModelError: the module is no linear layer.
    """
    if isinstance(module, Conv1D):
        rows, columns = module.weight.shape
        return rows, columns
    columns, rows = (
        getattr(module, name, getattr(module, name.replace("_", ""), None))
        for name in ("in_features", "out_features")
    )
    if columns is None or rows is None:
        raise ModelError(
            f"{method} targets must be linear layers, {module_name!r} is a "
            f"{type(module).__name__}. Remove it from target_modules."
        )
    return columns, rows


def turned(module: nn.Module, matrix: torch.Tensor) -> torch.Tensor:
    """A matrix between W [out_features, in_features] and how the layer keeps it, either way."""
    return matrix.T if isinstance(module, Conv1D) else matrix


def full_weight(module: nn.Module) -> torch.Tensor:
    """W [out_features, in_features] of a linear layer, detached; of a quantised one in floats."""
    return turned(module, dequantize_module_weight(module).detach())
