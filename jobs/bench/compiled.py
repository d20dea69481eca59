"""Decoding by layers that vLLM compiled against the same layers eager, SVF in factored form.

A compiled layer must still follow z: both engines are given the same adapter, and the same experts,
after they have started, and the log-probs of their greedy answers are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

from jobs.bench.geometric import SPREAD, moved, prompts
from jobs.bench.rows import BenchRow, apart, interleave, medians
from rlpeft.adapter_state import AdapterState
from rlpeft.models.gap import largest_gap
from rlpeft.recipe.run import SvfAdapter
from rlpeft.types import Request, Sampling

LEAST = {0: 1.4, 2: 1.3}
"""By the number of experts that share a batch."""

MOST_GAP = 1e-4
ROWS, TOKENS, REPEATS = 8, 128, 7
WAYS = {"eager": True, "compiled": False}


def rows(*, model: str = "tiny") -> Iterator[BenchRow]:
    """Tokens per second of a batch of eight: of the policy alone, and of two experts."""
    for experts in LEAST:
        yield from apart(partial(decode_rows, model, experts))


def decode_rows(model: str, num_experts: int) -> Iterator[BenchRow]:
    """One row, both engines open at once and asked in turn."""
    from rlpeft.adapters.policy import adapter_state

    def drawn(spread: float) -> AdapterState:
        return adapter_state(moved(model, SvfAdapter(), spread=spread), 1)

    state = drawn(SPREAD)
    experts = {f"expert {k}": drawn(SPREAD / 2**k) for k in range(num_experts)}
    names: list[str | None] = [*experts] or [None]
    requests = [
        Request(str(k), ids, (0,), names[k % len(names)])
        for k, ids in enumerate(prompts(ROWS, length=16))
    ]
    sampling = Sampling(TOKENS, temperature=0.0)
    with ExitStack() as ends:
        engines = {
            way: ends.enter_context(closing(_engine(model, state, experts, is_eager)))
            for way, is_eager in WAYS.items()
        }
        said = [engine.rollout(requests, sampling) for engine in engines.values()]
        are_equal, gap = _agreement(*said)
        sides = {way: partial(each.rollout, requests, sampling) for way, each in engines.items()}
        found = medians(interleave(sides, repeats=REPEATS))
    ratio, least = found["eager"] / found["compiled"], LEAST[num_experts]
    of = f"{num_experts} experts" if num_experts else "the policy alone"
    yield BenchRow(
        figure=f"decoding in vLLM, compiled against eager, SVF in factored form, {of} ({model}, "
        f"{ROWS} x {TOKENS} tokens, {'equal' if are_equal else 'DIFFERENT'}; log-probs {gap:.1g} "
        "apart)",
        ours=ROWS * TOKENS / found["compiled"],
        peer=ROWS * TOKENS / found["eager"],
        ratio=ratio,
        unit="tokens/s",
        floor="none known: what goes is the time between a layer's products",
        goal=f">= {least} x, tokens equal",
        met=ratio >= least and are_equal and gap <= MOST_GAP,
    )


def _agreement(ours: Any, theirs: Any) -> tuple[bool, float]:
    """Whether two engines have said the same, and how far their log-probs are apart if so."""
    pairs = [(a[0], b[0]) for a, b in zip(ours, theirs, strict=True)]
    are_equal = all(a.token_ids == b.token_ids for a, b in pairs)
    if not are_equal:
        return False, float("nan")
    return True, largest_gap([a.logprobs for a, _ in pairs], [b.logprobs for _, b in pairs])


def _engine(
    model: str, state: AdapterState, experts: Mapping[str, AdapterState], is_eager: bool
) -> Any:
    from rlpeft.models.folder import resolve_model
    from rlpeft.rollout.vllm.engine import VllmEngine

    engine = VllmEngine(
        resolve_model(model),
        state.config,
        max_model_len=256,
        num_threads=1,
        form="factored",
        max_experts=len(experts),
        enforce_eager=is_eager,
    )
    engine.eos_ids = []  # every answer has all its tokens
    engine.load_adapter(state)
    engine.load_experts(experts)
    return engine
