"""Sums over the bits of tensors: whether any was written to since, in one pass over them.

PyTorch counts writes to a tensor, but none to its `.data`. Sums of bits in whole numbers show
every single change, where sums of values would round small ones away; what they cannot show is
changes that cancel within a row, as two swapped values do.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bit_sums(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """The bits of each row of each tensor as whole numbers, summed, one after the other, int64.

    Args:
        tensors: plain, on one device.
    """
    return torch.cat([_rows(tensor.detach()).reshape(-1).long() for tensor in tensors])


def many_tokens(x: torch.Tensor) -> bool:
    """Whether x [..., tokens, features] is no single step of generation, after a product with
    which a pass over a weight counts for little."""
    return x.ndim < 3 or x.shape[-2] > 1


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.contiguous()
    bits = tensor.view(BITS[tensor.element_size()])
    if tensor.element_size() < 4:
        # A sum of narrow numbers in wide ones takes a hundred times as long as one of wide ones.
        row, start = tensor.shape[-1:].numel(), tensor.storage_offset()
        pairs = not any(n * tensor.element_size() % 4 for n in (row, start))
        bits = tensor.view(torch.int32) if tensor.ndim and pairs else bits.int()
    return bits.sum(-1, dtype=bits.dtype) if bits.ndim else bits
