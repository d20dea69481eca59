"""Linear layers as they come: plain, transposed (GPT-2's Conv1D) or quantised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from peft.utils.integrations import dequantize_module_weight
from torch import nn
from transformers.pytorch_utils import Conv1D

from rlpeft.errors import ModelError
from rlpeft.models.base import BaseModel


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


def base_weights(
    base: BaseModel, modules: Sequence[str], dtype: str = "float32"
) -> Iterator[tuple[str, torch.Tensor]]:
    """W [out_features, in_features] of linear layers of a base model, by the layers' names.

    Read from its files one at a time; the model is loaded only where they keep weights under other
    names (tied heads, old layouts), or quantised.

    Args:
        dtype: that the model computes in.

    Raises:
        ModelError: the base model has no such layer.
    """
    layers = dict(base.skeleton.named_modules())
    if unknown := [name for name in modules if name not in layers]:
        raise ModelError(
            f"base model {base.name!r} must have every module that an adapter moves, it has no "
            f"{unknown[0]!r}. Take the base model that the adapter was trained on."
        )
    is_plain = not (base.quantisation or getattr(base.config, "quantization_config", None))
    if is_plain and all(f"{name}.weight" in base.tensor_files for name in modules):
        for key, tensor in base.tensors(f"{name}.weight" for name in modules):
            name = key.removesuffix(".weight")
            yield name, turned(layers[name], tensor.to(getattr(torch, dtype)))
        return
    model = base.model(dtype)
    yield from ((name, full_weight(model.get_submodule(name))) for name in modules)
