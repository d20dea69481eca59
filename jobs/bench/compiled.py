"""Decoding by layers that vLLM compiled against the same layers eager, SVF in factored form.

A compiled layer must still follow z: both engines have been given the same adapter after they
started, and their answers are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

from jobs.bench.geometric import moved, prompts
from jobs.bench.rows import BenchRow, apart, interleave, medians
from rlpeft.adapter_state import AdapterState
from rlpeft.models.gap import largest_gap
from rlpeft.recipe.run import SvfAdapter
from rlpeft.types import Request, Sampling

LEAST, MOST_GAP = 1.4, 1e-4
ROWS, TOKENS, REPEATS = 8, 128, 7


def rows(*, model: str = "tiny") -> Iterator[BenchRow]:
    """Tokens per second of a batch of eight, without experts: with them vLLM does not compile on
    a CPU."""
    yield from apart(partial(decode_rows, model))


def decode_rows(model: str) -> Iterator[BenchRow]:
    """One row, both engines open at once and asked in turn."""
    from rlpeft.adapters.policy import adapter_state

    state = adapter_state(moved(model, SvfAdapter()), 1)
    requests = [Request(str(k), ids, (0,)) for k, ids in enumerate(prompts(ROWS, length=16))]
    sampling = Sampling(TOKENS, temperature=0.0)
    with ExitStack() as ends:
        engines = {
            way: ends.enter_context(closing(_engine(model, state, is_eager=way == "eager")))
            for way in ("eager", "compiled")
        }
        texts = prompts(4, length=48)
        gap = largest_gap(*(engine.logprobs(texts) for engine in engines.values()))
        sides = {
            way: partial(engine.rollout, requests, sampling) for way, engine in engines.items()
        }
        found = medians(interleave(sides, repeats=REPEATS))
    ratio = found["eager"] / found["compiled"]
    yield BenchRow(
        figure=f"decoding in vLLM, compiled against eager, SVF in factored form ({model}, {ROWS} x "
        f"{TOKENS} tokens; log-probs differ by {gap:.1g})",
        ours=ROWS * TOKENS / found["compiled"],
        peer=ROWS * TOKENS / found["eager"],
        ratio=ratio,
        unit="tokens/s",
        floor="none known: what a layer costs beside its products goes",
        goal=f">= {LEAST} x, gap <= {MOST_GAP:g}",
        met=ratio >= LEAST and gap <= MOST_GAP,
    )


def _engine(model: str, state: AdapterState, *, is_eager: bool) -> Any:
    from rlpeft.models.folder import resolve_model
    from rlpeft.rollout.vllm.engine import VllmEngine

    engine = VllmEngine(
        resolve_model(model),
        state.config,
        max_model_len=256,
        num_threads=1,
        form="factored",
        enforce_eager=is_eager,
    )
    engine.eos_ids = []  # every answer has all its tokens
    engine.load_adapter(state)
    return engine
