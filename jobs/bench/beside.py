"""Memory of a learner and of a vLLM engine beside it on a CPU: what rests, and what is held once.

A CPU has no weights of vLLM to share: it packs copies of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import psutil

from jobs.bench.geometric import moved, prompts
from jobs.bench.rows import BenchRow, apart
from rlpeft.recipe.adapter import SvfAdapter
from rlpeft.types import Request, Sampling

LEAST_BACK, MOST_BASIS = 0.9, 1.05
GIB = 2**30


def rows(*, model: str = "smollm2-135m") -> Iterator[BenchRow]:
    """The KV cache while the learner works, and the basis of SVF."""
    yield from apart(partial(memory_rows, model))


def memory_rows(model: str) -> Iterator[BenchRow]:
    """Both, of one learner and one engine."""
    from rlpeft.adapters.policy import adapter_state, sequence_logprobs
    from rlpeft.models.folder import resolve_model
    from rlpeft.rollout.vllm.engine import VllmEngine

    policy = moved(model, SvfAdapter())
    state = adapter_state(policy, 1)
    with closing(VllmEngine(resolve_model(model), state.config, max_model_len=256)) as engine:
        engine.load_adapter(state)
        requests = [Request(f"{k}", ids, (0, 1)) for k, ids in enumerate(prompts(8, length=64))]
        engine.rollout(requests, Sampling(32))
        processes = engine.processes
        awake = resident(processes)
        engine.rest()
        yield rest_row(model, awake, resident(processes))
        sequence_logprobs(policy, prompts(1, length=64))  # the learner reads what it has mapped
        size = sum(layer.svf_basis.nbytes for layer in _layers(policy))
        once, each = mapped([psutil.Process(), *processes])
        yield basis_row(model, size, once, each)


def rest_row(model: str, awake: int, asleep: int) -> BenchRow:
    """Bytes of an engine before and after it rests."""
    from rlpeft.rollout.vllm.start import CPU_KV_CACHE_BYTES

    back = (awake - asleep) / CPU_KV_CACHE_BYTES
    return BenchRow(
        figure=f"resident memory of an engine while the learner works, and while it generates "
        f"({model}, vLLM, a KV cache of {CPU_KV_CACHE_BYTES / GIB:g} GiB)",
        ours=asleep / GIB,
        peer=awake / GIB,
        ratio=back,
        unit="GiB",
        floor="1: the KV cache",
        goal=f">= {LEAST_BACK} of the KV cache given back",
        met=back >= LEAST_BACK,
    )


def basis_row(model: str, size: int, once: int, each: int) -> BenchRow:
    """Bytes of mapped factors that learner and engine hold together, and that each sees."""
    ratio = once / size
    return BenchRow(
        figure=f"SVF's basis in learner and engine together, and as each sees it ({model}, vLLM, "
        "float32; beside what oneDNN packs)",
        ours=once / GIB,
        peer=each / GIB,
        ratio=ratio,
        unit="GiB",
        floor="1: held once",
        goal=f"<= {MOST_BASIS} x the basis, seen by both",
        met=ratio <= MOST_BASIS and each >= 2 * size,
    )


def resident(processes: Sequence[psutil.Process]) -> int:
    """Bytes in memory."""
    return sum(process.memory_info().rss for process in processes)


def mapped(processes: Sequence[psutil.Process]) -> tuple[int, int]:
    """Bytes of the cache of factors in memory: each page once, and for each process that has it."""
    from rlpeft.adapters.svf.factors import default_cache

    cache = str(default_cache())
    maps = [m for p in processes for m in p.memory_maps() if m.path.startswith(cache)]
    return sum(m.pss for m in maps), sum(m.rss for m in maps)


def _layers(policy: Any) -> list[Any]:
    return [module for module in policy.modules() if hasattr(module, "svf_basis")]
