"""What a policy update is on the wire: a few named fp32 vectors, a version and a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

PEFT_PREFIX = "base_model.model."
"""What PEFT puts before a module's name, in the names of adapter tensors."""


def tensor_name(module: str, suffix: str) -> str:
    """What PEFT calls a tensor of a module's adapter.

    >>> module_of(tensor_name("model.layers.0.mlp.up_proj", "svf_z"), "svf_z")
    'model.layers.0.mlp.up_proj'
    """
    return f"{PEFT_PREFIX}{module}.{suffix}"


def module_of(tensor: str, suffix: str) -> str:
    """The module that a tensor belongs to."""
    return tensor.removeprefix(PEFT_PREFIX).removesuffix(f".{suffix}")


def by_module(tensors: Mapping[str, torch.Tensor], suffix: str) -> dict[str, torch.Tensor]:
    """The tensors of one suffix, by their modules, in the order of their names."""
    return {
        module_of(name, suffix): tensor
        for name, tensor in sorted(tensors.items())
        if name.endswith(f".{suffix}")
    }


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in name order (hex)."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class AdapterState:
    """One version of an adapter, complete enough for an engine to run it.

    Attributes:
        config: the PEFT config as a plain dict (`peft_type` says which method).
        tensors: adapter parameters under the names PEFT saves them with, on the CPU.
        version: the optimizer step that produced it; 0 is the start.
        factors: module name -> digest of its cached factors (`rlpeft.adapters.svf.factors`), for
            methods that use them, so that an engine reads the trainer's factors and never its own.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    version: int
    factors: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Digest of `tensors`; two states with the same digest are the same policy."""
        return tensors_digest(self.tensors)

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensors: what a sync has to move."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())
