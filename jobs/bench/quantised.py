"""A base in int8: what the learner's weights take, and how near the engine is to the learner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from importlib.util import find_spec
from typing import Any

from jobs.bench.geometric import prompts
from jobs.bench.rows import BenchRow, apart
from rlpeft.models.base import BaseModel
from rlpeft.recipe.run import SvfAdapter
from rlpeft.terminal import note

MOST_BYTES, MOST_GAP = 0.35, 1e-3
"""Of the weights in float32; and as `rollout.canary_bound` has it, unless it is told otherwise."""

MIB = 2**20


def rows(*, model: str = "smollm2-135m") -> Iterator[BenchRow]:
    """Resident weights, and log-probs of learner and vLLM; none where torchao is not installed."""
    if find_spec("torchao") is None:
        note("nothing of int8 is measured: torchao is missing (pip install 'rlpeft[quantised]')")
        return
    yield from apart(partial(bytes_rows, model))
    yield from apart(partial(gap_rows, model))


def bytes_rows(model: str) -> Iterator[BenchRow]:
    """Base weights of a learner; those that stay floats, the embedding before all, in bfloat16."""
    from rlpeft.adapters.policy import attach_adapter
    from rlpeft.doctor.memory import own_bytes

    base = BaseModel.open(model)
    peer = own_bytes(base.model())
    loaded = base.quantised("int8").model("bfloat16")
    ours = own_bytes(loaded)
    policy = attach_adapter(loaded, SvfAdapter(), seed=0)
    basis = sum(layer.svf_basis.nbytes for layer in policy.modules() if hasattr(layer, "svf_basis"))
    yield BenchRow(
        figure=f"learner's weights in int8, embedding in bfloat16, against float32 ({model}; SVF's "
        f"basis of {basis / MIB:.0f} MiB beside either)",
        ours=ours / MIB,
        peer=peer / MIB,
        ratio=ours / peer,
        unit="MiB",
        floor="1/4 of the layers, 1/2 of the embedding",
        goal=f"<= {MOST_BYTES} x",
        met=ours <= MOST_BYTES * peer,
    )


def gap_rows(model: str) -> Iterator[BenchRow]:
    """The proof of delivery, with a moved adapter, and what the same adapter moves."""
    from rlpeft.adapters.policy import adapter_state, sequence_logprobs
    from rlpeft.models.gap import largest_gap
    from rlpeft.rollout.proof import Proof, Prover
    from rlpeft.rollout.vllm.engine import VllmEngine

    base, texts = BaseModel.open(model).quantised("int8"), prompts(4, length=32)
    policy = _moved(base)
    state, expected = adapter_state(policy, 1), sequence_logprobs(policy, texts)
    with policy.disable_adapter():
        effect = largest_gap(sequence_logprobs(policy, texts), expected)
    options: dict[str, Any] = {"max_model_len": 256, "num_threads": 1, "quantisation": "int8"}
    with closing(VllmEngine(base.path, state.config, **options)) as engine:
        gap = Prover(engine).prove(Proof(state, texts, expected, bound=1.0)).gap
    yield BenchRow(
        figure=f"log-probs of engine and learner on a base in int8, and what the adapter moves "
        f"({model}, SVF, vLLM, float32)",
        ours=gap,
        peer=effect,
        ratio=gap / MOST_GAP,
        unit="",
        floor="0: both hold the same whole numbers and scales",
        goal=f"<= {MOST_GAP:g}, rollout.canary_bound",
        met=gap <= MOST_GAP,
    )


def _moved(base: BaseModel) -> Any:
    import torch

    from rlpeft.adapters.policy import attach_adapter

    policy = attach_adapter(base.model(), SvfAdapter(), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return policy
