"""An accelerator that computes nothing, on which tensors left on the CPU are found without a GPU.

A process that registers it is good for nothing else: what runs here is run as a script of its own,
which prints what it found.

Tensors on it have shapes and no values (`FakeTensorMode`); with the device named `cuda` that mode
aborts in autograd where torch is built without CUDA, so it is a backend of its own name. What asks
for a value (is it finite?) is told yes. Two kinds of mistakes are found: operations on tensors of
two devices, which the mode refuses by itself; and index tensors on the CPU, which PyTorch takes
from there at every use, waiting for the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "fakegpu"
_setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(NAME, 0)

COPIES = frozenset({"aten::_to_copy", "aten::copy_", "aten::set_"})
"""Operations that go from one device to another on purpose."""

VALUES = {torch.bool: True, torch.int64: 1, torch.float32: 1.0}
"""What is told of a value that nobody knows."""


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of both devices, but for copies and single numbers."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name == "aten::_local_scalar_dense":
            return VALUES[args[0].dtype]
        if name == "aten::equal":
            return True
        found = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        devices = {tensor.device.type for tensor in found if tensor.ndim}
        if len(devices) > 1 and name not in COPIES:
            shapes = [(tensor.device.type, tuple(tensor.shape)) for tensor in found]
            raise RuntimeError(f"{name} of tensors on {sorted(devices)}: {shapes}")
        return func(*args, **kwargs)


@contextmanager
def fake_accelerator() -> Iterator[None]:
    """Make tensors in here, and take those from outside for tensors on the CPU."""
    # It copies values to the device past every mode.
    made = mock.patch.object(torch.Tensor, "new_tensor", lambda like, row: like.new_empty(len(row)))
    with made, FakeTensorMode(allow_non_fake_inputs=True), OneDevice():
        yield


def there(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same kind on the accelerator."""
    moved = torch.empty(tensor.shape, dtype=tensor.dtype, device=DEVICE)
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(moved, requires_grad=tensor.requires_grad)
    return moved


def move(module: torch.nn.Module) -> None:
    """As `module.to(DEVICE)`, which cannot change the kind of a tensor."""
    for child in module.modules():
        for held in (child._parameters, child._buffers):
            held.update({n: there(t) for n, t in held.items() if t is not None})


def off_the_cpu(tree: Any) -> list[str]:
    """The tensors of a tree that are not on the CPU, by their shapes."""
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
    return [f"{t.device} {tuple(t.shape)}" for t in tensors if t.device.type != "cpu"]
