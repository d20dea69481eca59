"""Two workers that share the weights of an engine, against an engine of one.

They add up in another order, so that log-probs differ in their last digits without any adapter,
too: what the adapter adds to that is compared with the gap of the bare engines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any

from jobs.bench.geometric import ADAPTERS, moved, prompts
from jobs.bench.rows import BenchRow, apart
from rlpeft.adapter_state import AdapterState
from rlpeft.models.gap import largest_gap
from rlpeft.recipe.run import AdapterConfig, SvfAdapter
from rlpeft.types import Request, Sampling

SIDES: dict[str, AdapterConfig] = {
    "SVF": SvfAdapter(),
    **{name: ADAPTERS[name] for name in ("LoRA", "HypLoRA", "MoSLoRA")},
}
WORKERS, MOST_GAP = 2, 3.0
TOKENS = 32
"""Of each forced text, and of each greedy answer."""


def rows(*, model: str = "tiny") -> Iterator[BenchRow]:
    """Log-probs of forced text and greedy tokens of each method."""
    yield from apart(partial(gap_rows, model))


def gap_rows(model: str) -> Iterator[BenchRow]:
    """One row a method."""
    from rlpeft.adapters.policy import adapter_state

    bare = _gap(model, None)[0]
    for name, adapter in SIDES.items():
        gap, are_equal = _gap(model, adapter_state(moved(model, adapter), 1))
        yield BenchRow(
            figure=f"log-probs of {WORKERS} workers of an engine against one, {name} ({model}, "
            f"vLLM, float32), and of the bare engine; greedy tokens "
            f"{'equal' if are_equal else 'DIFFER'}",
            ours=gap,
            peer=bare,
            ratio=gap / bare,
            unit="",
            floor="1 x: the base model's own sums",
            goal=f"<= {MOST_GAP:g} x, tokens equal",
            met=are_equal and gap <= MOST_GAP * bare,
        )


def _gap(model: str, state: AdapterState | None) -> tuple[float, bool]:
    """Largest difference of two engines' log-probs, and whether they write the same greedily."""
    (ours, mine), (one, its) = (_said(model, state, number) for number in (WORKERS, 1))
    return largest_gap(ours, one), mine == its


def _said(model: str, state: AdapterState | None, workers: int) -> tuple[Any, Any]:
    """Log-probs of forced text, and greedy answers."""
    from rlpeft.models.folder import resolve_model
    from rlpeft.rollout.vllm.engine import VllmEngine

    config: Mapping[str, Any] | None = None if state is None else state.config
    # In one form on both sides: others round otherwise.
    options: dict[str, Any] = {"form": "factored", "tensor_parallel": workers}
    texts = prompts(16, length=TOKENS)
    requests = [Request(str(k), ids, (0,)) for k, ids in enumerate(texts)]
    path = resolve_model(model)
    with closing(VllmEngine(path, config, max_model_len=256, num_threads=1, **options)) as engine:
        if state is not None:
            engine.load_adapter(state)
        groups = engine.rollout(requests, Sampling(TOKENS, temperature=0.0))
        answers = [group[0].token_ids for group in groups]
        return engine.logprobs(texts), answers
