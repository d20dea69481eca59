"""What it costs vLLM to serve a different expert to every request, and that each gets its own, also
where experts come and go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import torch

from jobs.bench.cem import population
from jobs.bench.churn import rows as churn
from jobs.bench.rows import BenchRow
from jobs.bench.sync import PROMPTS, form_floors, token_rates
from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.policy import attach_adapter
from rlpeft.build import build_state
from rlpeft.models.base import BaseModel
from rlpeft.models.gap import largest_gap
from rlpeft.recipe.run import EngineSpec, ModelConfig, SvfAdapter
from rlpeft.rollout.hf.engine import HfEngine
from rlpeft.types import Request, Sampling

EXPERTS = 4
MOST_GAP = 1e-4


def rows(
    *, model: str = "smollm2-135m", repeats: int = 3, num_seeds: int = 8, max_tokens: int = 32
) -> Iterator[BenchRow]:
    """Tokens per second against plain vLLM, and a mixed batch against merged experts."""
    from rlpeft.rollout.vllm.engine import VllmEngine

    base, spec = (
        BaseModel.open(model),
        EngineSpec(model=ModelConfig(name=model), adapter=SvfAdapter()),
    )
    start = build_state(spec, base)
    experts = {name: _milder(state, start) for name, state in population(start, EXPERTS).items()}
    options: dict[str, Any] = {"max_model_len": 256, "num_threads": torch.get_num_threads()}
    with (
        closing(VllmEngine(base.path, None, **options)) as plain,
        closing(VllmEngine(base.path, start.config, max_experts=EXPERTS, **options)) as ours,
    ):
        ours.load_adapter(start)
        ours.load_experts(experts)
        sides = {
            "ours": (ours, _requests(base, num_seeds, list(experts))),
            "plain": (plain, _requests(base, num_seeds, [None])),
        }
        sampling = Sampling(max_tokens=max_tokens, temperature=0.0)
        yield _rate_row(model, token_rates(sides, sampling, repeats=repeats), _floor(base))
        yield _parity_row(base, ours, experts)
    yield from churn()


def _milder(state: AdapterState, start: AdapterState) -> AdapterState:
    # A tenth of the population's spread: text stays text, and log-probs comparable.
    tensors = {n: start.tensors[n] + 0.1 * (z - start.tensors[n]) for n, z in state.tensors.items()}
    return AdapterState(state.config, tensors, state.version, state.factors)


def _requests(base: BaseModel, num_seeds: int, experts: list[Any]) -> list[Request]:
    """The same prompts for both sides; experts take turns."""
    asked = [(prompt, seed) for prompt in PROMPTS for seed in range(num_seeds)]
    return [
        Request(f"{k}", tuple(base.tokenizer(p)["input_ids"]), (seed,), experts[k % len(experts)])
        for k, (p, seed) in enumerate(asked)
    ]


def _floor(base: BaseModel) -> float:
    return form_floors(attach_adapter(base.model(), SvfAdapter(), seed=0))["spectral"]


def _rate_row(model: str, rates: dict[str, float], floor: float) -> BenchRow:
    ratio = rates["ours"] / rates["plain"]
    return BenchRow(
        f"tokens per second, {model}, {EXPERTS} experts in one vLLM batch against plain vLLM",
        rates["ours"],
        rates["plain"],
        ratio,
        "/s",
        f"{floor:.2f} x by FLOPs of the matrices",
        ">= 0.70 x",
        ratio >= 0.70,
    )


def _parity_row(base: BaseModel, engine: Any, experts: dict[str, AdapterState]) -> BenchRow:
    """Greedy answers of a mixed batch, and of transformers with each expert merged."""
    tokenizer, sampling = base.tokenizer, Sampling(max_tokens=16, temperature=0.0)
    requests = [
        Request(f"{name}/{k}", tuple(tokenizer(prompt)["input_ids"]), (0,), name)
        for name in experts
        for k, prompt in enumerate(PROMPTS)
    ]
    mixed = engine.rollout(requests, sampling)
    gaps, same = [], 0
    for name, state in experts.items():
        policy = attach_adapter(base.model(), SvfAdapter(), seed=0)
        HfEngine(policy, tokenizer, eos_ids=()).load_adapter(state)
        bare = attach_adapter(policy.merge_and_unload(), SvfAdapter(), seed=0)
        merged = HfEngine(bare, tokenizer, eos_ids=base.eos_ids)
        for request, (ours,) in zip(requests, mixed, strict=True):
            if request.expert == name:
                alone = Request(request.id, request.prompt_ids, request.seeds)
                ((theirs,),) = merged.rollout([alone], sampling)
                same += ours.token_ids == theirs.token_ids
                pairs = zip(ours.logprobs, theirs.logprobs, strict=False)
                gaps.append([abs(a - b) for a, b in pairs])
    gap = largest_gap(gaps, [[0.0] * len(row) for row in gaps])
    return BenchRow(
        f"mixed vLLM batch against each expert merged, alone, {base.name}, greedy: largest "
        f"log-prob gap ({same} of {len(requests)} token sequences the same)",
        gap,
        MOST_GAP,
        gap / MOST_GAP,
        "nat",
        "fp32 rounding",
        "<= 1 x, same tokens",
        gap <= MOST_GAP and same == len(requests),
    )
