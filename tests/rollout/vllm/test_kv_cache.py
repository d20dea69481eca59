"""Memory given back: what is left of it, and whose it was not."""

import errno
import mmap

import psutil
import pytest
import torch

from rlpeft.rollout.vllm import kv_cache
from rlpeft.rollout.vllm.kv_cache import give_back

MEGABYTES = 64


def test_memory_goes_back_and_reads_as_zero():
    whole = torch.ones(MEGABYTES << 20, dtype=torch.int8)
    keys, values = whole.view(torch.float16).chunk(2)
    before = psutil.Process().memory_info().rss
    give_back([keys, values])
    assert before - psutil.Process().memory_info().rss > 0.9 * (MEGABYTES << 20)
    assert not whole.any()


@pytest.mark.parametrize("pages", [0.5, 1.2, 3, 4.5])
def test_what_lies_on_the_same_pages_stays(pages):
    size, start = int(pages * mmap.PAGESIZE), 100
    around = bytearray(b"\1" * (size + 2 * mmap.PAGESIZE))
    give_back([torch.frombuffer(around, dtype=torch.int8, offset=start, count=size)])
    assert around.count(0) == size
    assert not any(around[start : start + size])


def test_a_kernel_that_refuses_is_not_believed(monkeypatch):
    monkeypatch.setattr(kv_cache.mmap, "MADV_DONTNEED", 12345)
    with pytest.raises(OSError, match="Invalid argument") as refused:
        give_back([torch.ones(5 * mmap.PAGESIZE)])
    assert refused.value.errno == errno.EINVAL
