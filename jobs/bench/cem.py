"""One iteration of a search over mixtures: a whole population in one batch, against one by one.

One by one is the reference's way (Transformer², public code): build every weight of the model for
a candidate, W' = U diag(s z) Vᵀ from the factors, generate its answers, take the next. On `vllm`
the peer syncs each candidate as the policy of the whole engine, which is our own way and cheaper.
Both sides answer the same prompts and are held to the same texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

import torch

from jobs.bench.rows import BenchRow, interleave, medians
from jobs.bench.sync import factor_flops, plain_flops
from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.policy import attach_adapter
from rlpeft.build import build_engine, build_prompter, build_state
from rlpeft.models.base import BaseModel
from rlpeft.recipe.run import (
    ChatConfig,
    EngineSpec,
    ModelConfig,
    RolloutConfig,
    SvfAdapter,
    TaskConfig,
)
from rlpeft.rollout.engine import RolloutEngine
from rlpeft.tasks.catalogue import load_task
from rlpeft.types import Request, Sampling

POPULATION, PROMPTS = 32, 10
GREEDY = Sampling(max_tokens=8, temperature=0.0)


def rows(*, repeats: int = 3) -> Iterator[BenchRow]:
    """Time an iteration on `hf` and on `vllm`, on the tiny base model."""
    yield _row("hf", 8.0, repeats, rebuilds=True)
    yield _row("vllm", 4.0, repeats, rebuilds=False)


def _row(engine_name: str, goal: float, repeats: int, *, rebuilds: bool) -> BenchRow:
    """One engine's; `rebuilds`: whether its peer builds weights, in the place of a sync."""
    base, spec = BaseModel.open("tiny"), _spec(engine_name)
    with closing(build_engine(spec, base)) as engine:
        start = build_state(spec, base)
        engine.load_adapter(start)
        candidates, requests = population(start), _requests(spec, base)
        one: Any = OneByOne(spec, base) if rebuilds else engine
        texts: dict[str, list[str]] = {}
        sides = {
            "batch": _recorded(texts, "batch", lambda: in_one_batch(engine, candidates, requests)),
            "one": _recorded(texts, "one", lambda: one_by_one(one, candidates, requests)),
        }
        seconds = medians(interleave(sides, repeats=repeats))
    same = sum(a == b for a, b in zip(texts["batch"], texts["one"], strict=True))
    speedup = seconds["one"] / seconds["batch"]
    return BenchRow(
        f"CEM iteration, {POPULATION} candidates x {PROMPTS} prompts, tiny, {engine_name}: one "
        f"batch against one by one ({same} of {len(texts['one'])} answers the same)",
        seconds["batch"],
        seconds["one"],
        speedup,
        "s",
        _floor(spec, base),
        f">= {goal:g} x faster, same answers",
        speedup >= goal and same == len(texts["one"]),
    )


def _floor(spec: EngineSpec, base: BaseModel) -> str:
    policy = attach_adapter(base.model(), spec.adapter, seed=0)
    more = 1 + factor_flops(policy) / 2 / plain_flops(policy)  # the spectral form
    return f"a token costs {more:.2f} x the FLOPs of merged weights"


def _spec(engine: str) -> EngineSpec:
    rollout = RolloutConfig(
        engine=engine,
        max_prompt_tokens=16,
        max_tokens=GREEDY.max_tokens,
        batch_size=POPULATION * PROMPTS,
    )
    return EngineSpec(
        model=ModelConfig(name="tiny"),
        adapter=SvfAdapter(),
        rollout=rollout.for_experts(POPULATION),
    )


class OneByOne:
    """The public code's way to another policy, on the `hf` engine: new weights, no adapter."""

    def __init__(self, spec: EngineSpec, base: BaseModel) -> None:
        self.engine = build_engine(spec, base)
        self.engine.policy.base_model.disable_adapter_layers()
        self.layers = {
            f"base_model.model.{name}.svf_z": module.base_layer.weight.data
            for name, module in self.engine.policy.get_base_model().named_modules()
            if hasattr(module, "svf_z")
        }
        self.factors = {n: torch.linalg.svd(w, False) for n, w in self.layers.items()}

    def load_adapter(self, state: AdapterState) -> None:
        """Build every weight from its factors."""
        for name, (u, s, vt) in self.factors.items():
            self.layers[name].copy_(u @ torch.diag(s * state.tensors[name]) @ vt)

    def rollout(self, requests: list[Request], sampling: Sampling) -> Any:
        """Generate."""
        return self.engine.rollout(requests, sampling)


def population(start: AdapterState, number: int = POPULATION) -> dict[str, AdapterState]:
    """Candidates around the base model."""
    generator = torch.Generator().manual_seed(0)
    return {
        f"candidate-{c}": AdapterState(
            start.config,
            {
                n: z + 0.1 * torch.randn(z.shape, generator=generator)
                for n, z in start.tensors.items()
            },
            c,
            start.factors,
        )
        for c in range(number)
    }


def _requests(spec: EngineSpec, base: BaseModel) -> list[Request]:
    prompter = build_prompter(base, ChatConfig(), spec.rollout)
    problems = load_task(TaskConfig(name="tiny/mix")).split("test")[:PROMPTS]
    return [prompter.request(problem, [0]) for problem in problems]


def in_one_batch(
    engine: RolloutEngine, candidates: Mapping[str, AdapterState], requests: list[Request]
) -> list[str]:
    """Answers of every candidate, each request naming the one it runs."""
    engine.load_experts(candidates)
    named = [
        Request(f"{name}/{r.id}", r.prompt_ids, r.seeds, name)
        for name in candidates
        for r in requests
    ]
    return [group[0].text for group in engine.rollout(named, GREEDY)]


def one_by_one(
    engine: Any, candidates: Mapping[str, AdapterState], requests: list[Request]
) -> list[str]:
    """Answers of every candidate, each made the policy of the whole engine first."""
    texts = []
    for state in candidates.values():
        engine.load_adapter(state)
        texts += [group[0].text for group in engine.rollout(requests, GREEDY)]
    return texts


def _recorded(kept: dict[str, Any], name: str, run: Callable[[], Any]) -> Callable[[], None]:
    def recording() -> None:
        kept[name] = run()

    return recording
