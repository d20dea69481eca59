"""Memory of a KV cache that rests: given back to the machine while nobody generates."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable

import torch


def give_back(tensors: Iterable[torch.Tensor]) -> None:
    """Give the memory of CPU tensors back to the machine: they read as zero afterwards.

    They stay where they are, so that whatever has traced a layer still finds them, and take memory
    again page by page as they are written.

    Raises:
        OSError: the kernel refuses, as where the memory is locked.
    """
    storages = {storage.data_ptr(): storage for storage in (t.untyped_storage() for t in tensors)}
    for storage in storages.values():
        _give_back(torch.empty(0, dtype=torch.uint8).set_(storage))


def _give_back(bytes_N: torch.Tensor) -> None:
    """Whole pages by themselves; on the others something else may lie."""
    page, start = mmap.PAGESIZE, bytes_N.data_ptr()
    first, last = -(-start // page) * page - start, (start + len(bytes_N)) // page * page - start
    if first >= last:
        bytes_N.zero_()
        return
    bytes_N[:first].zero_()
    bytes_N[last:].zero_()
    libc = ctypes.CDLL(None, use_errno=True)
    address, length = ctypes.c_void_p(start + first), ctypes.c_size_t(last - first)
    if libc.madvise(address, length, mmap.MADV_DONTNEED):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
