"""`learner.parallel = "shard"`: each rank keeps its part of base and basis, by FSDP2.

A layer is whole only while it computes. Adapters stay whole on every rank and as they are without:
their gradients, states and files know nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import TypeVar

import torch
from peft import PeftModel
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from rlpeft.adapters.policy import make_shardable
from rlpeft.errors import ModelError

T = TypeVar("T")


def shard(policy: PeftModel, size: int) -> Callable[[Callable[[], T]], T]:
    """Keep a part of each frozen weight; what runs forward passes of the policy's parts.

    Args:
        size: how many ranks there are, this process being one of them.

    Raises:
        ModelError: the base model's layers cannot be told apart.
    """
    base = policy.get_base_model()
    layers = getattr(base.get_decoder(), "layers", None)
    if not isinstance(layers, torch.nn.ModuleList):
        raise ModelError(
            "learner.parallel = 'shard' needs a decoder with a list of layers, "
            f"{type(base).__name__} has none. Set it to 'replicate'."
        )
    make_shardable(policy)
    whole = {parameter for parameter in policy.parameters() if parameter.requires_grad}
    mesh = init_device_mesh(policy.device.type, (size,))
    for layer in layers:
        fully_shard(layer, mesh=mesh, ignored_params=whole)
    # The root has what is left: embedding, norm and head. Without one no layer would give back
    # what it gathered, and a replicated embedding is a third of a small model.
    fully_shard(base, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    # Decoder and head are called apart; to FSDP2 both are inside one forward pass of the root.
    base.inside = MethodType(_call, base)
    register_fsdp_forward_method(base, "inside")
    inside: Callable[[Callable[[], T]], T] = base.inside
    return inside


def _call(_base: torch.nn.Module, do: Callable[[], T]) -> T:
    return do()


def held_bytes(policy: torch.nn.Module) -> int:
    """Bytes of frozen weights, bases of factors among them, that this process holds."""
    tensors = [*(p for p in policy.parameters() if not p.requires_grad), *policy.buffers()]
    return sum((t.to_local() if isinstance(t, DTensor) else t).nbytes for t in tensors)
