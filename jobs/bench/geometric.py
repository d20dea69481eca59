"""HypLoRA and MoSLoRA against PEFT's LoRA of equal rank on the same modules, and DoRA beside them.

    rlpeft bench geometric

A training step, generation with both engines, and how exactly they compute: float32 against
float64, bfloat16 against LoRA's own loss in it, trainer against engine. Adapters are moved off
their start first, where B = 0 would hide every error.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch

from jobs.bench.learner import EVEN, Workload, samples
from jobs.bench.rows import BenchRow, apart, interleave, medians
from rlpeft.errors import ModelError
from rlpeft.recipe.run import AdapterConfig, HypLoraAdapter, LoraFamilyAdapter, MoSLoraAdapter
from rlpeft.types import Request, Sampling

ADAPTERS: dict[str, AdapterConfig] = {
    "LoRA": LoraFamilyAdapter(type="lora", rank=16),
    "DoRA": LoraFamilyAdapter(type="dora", rank=16),
    "HypLoRA": HypLoraAdapter(type="hyplora", rank=16),
    "MoSLoRA": MoSLoraAdapter(type="moslora", rank=16),
}
GEOMETRIC = ("HypLoRA", "MoSLoRA")
MOST_STEP = {"HypLoRA": 1.10, "MoSLoRA": 1.30}
MOST_GENERATION = {"HypLoRA": 1.15, "MoSLoRA": 1.30}
MOST_FLOAT32, MOST_BFLOAT16, MOST_GAP = 1e-6, 2.0, 1e-4
SPREAD, SMALL_SPREAD = 0.02, 1e-3
"""Standard deviation of the noise that takes parameters off their start. Small where generation is
timed: all sides then write what the base model writes, and as much of it."""

ROLLOUT = Workload(groups=8, prompt=64, completion=24)
"""What RL asks for: the groups of the timed training step, with shorter answers."""

LARGEST_ID = 40
"""Token ids below it: in every vocabulary."""


def rows(
    *,
    model: str = "smollm2-135m",
    repeats: int = 3,
    rollout: Workload = ROLLOUT,
) -> Iterator[BenchRow]:
    """All figures of the geometric adapters."""
    yield from apart(partial(step_rows, model=model, repeats=repeats))
    yield from apart(partial(precision_rows, model=model))
    yield from apart(partial(hf_rows, model=model, repeats=repeats, rollout=rollout))
    yield from apart(partial(vllm_rows, model=model, repeats=repeats, rollout=rollout))


def step_rows(
    model: str, *, sides: Sequence[str] = tuple(ADAPTERS), repeats: int
) -> list[BenchRow]:
    """One optimizer step through our learner."""
    from rlpeft.recipe.run import LearnerConfig, LossConfig
    from rlpeft.training.learner import LocalLearner

    def side(name: str) -> Callable[[], Any]:
        learner = LocalLearner(
            moved(model, ADAPTERS[name]),
            LearnerConfig(lr=1e-4, token_budget=2304),
            LossConfig(ratio_cap=0),
            total_steps=1000,
            temperature=1.0,
        )
        batch = samples(EVEN, learner.policy.config.vocab_size)
        return lambda: learner.step(batch)

    found = medians(interleave({name: side(name) for name in sides}, repeats=repeats))
    return _ratio_rows(f"training step ({model}, {EVEN})", found, MOST_STEP)


def hf_rows(model: str, *, repeats: int, rollout: Workload) -> list[BenchRow]:
    """Generation with transformers, policies kept in evaluation mode as in a rollout."""
    from rlpeft.models.folder import resolve_model
    from rlpeft.models.tokenizer import load_tokenizer
    from rlpeft.rollout.hf.engine import HfEngine
    from rlpeft.tokens.eos import eos_ids

    path = resolve_model(model)
    tokenizer = load_tokenizer(path)

    def side(name: str) -> Callable[[], Any]:
        policy = moved(model, ADAPTERS[name], spread=SMALL_SPREAD)
        engine = HfEngine(policy, tokenizer, eos_ids=eos_ids(path, tokenizer))
        return lambda: generate(engine, rollout)

    sides = {name: side(name) for name in ("LoRA", *GEOMETRIC)}
    found = _per_token(sides, repeats)
    what = f"generation, hf, {model}, {rollout}"
    return _ratio_rows(what, found, MOST_GENERATION, unit="s/token")


def vllm_rows(model: str, *, repeats: int, rollout: Workload) -> list[BenchRow]:
    """Generation with real vLLM, and its agreement with the trainer on identical tokens."""
    from rlpeft.adapters.policy import adapter_state, sequence_logprobs
    from rlpeft.models.folder import resolve_model
    from rlpeft.models.gap import largest_gap
    from rlpeft.rollout.vllm.engine import VllmEngine

    engines: dict[str, Any] = {}
    gaps: list[BenchRow] = []
    try:
        for name in ("LoRA", *GEOMETRIC):
            policy = moved(model, ADAPTERS[name]).eval()
            state = adapter_state(policy, 1)
            engines[name] = VllmEngine(
                resolve_model(model),
                state.config,
                max_model_len=256,
                num_threads=torch.get_num_threads(),
            )
            engines[name].load_adapter(state)
            tokens = [list(prompt) for prompt in prompts(4, length=48)]
            gap = largest_gap(engines[name].logprobs(tokens), sequence_logprobs(policy, tokens))
            gaps.append(_gap_row(model, name, gap))
            calm = moved(model, ADAPTERS[name], spread=SMALL_SPREAD)
            engines[name].load_adapter(adapter_state(calm, 2))
        sides = {
            name: lambda engine=engine: generate(engine, rollout)
            for name, engine in engines.items()
        }
        found = _per_token(sides, repeats)
    finally:
        for engine in engines.values():
            engine.close()
    what = f"generation, vLLM, {model}, {rollout}"
    return [*_ratio_rows(what, found, MOST_GENERATION, unit="s/token"), *gaps]


@torch.no_grad()
def precision_rows(model: str) -> list[BenchRow]:
    """Relative L2 error of each module's update, on the inputs it has in a forward; the worst."""
    found = {name: _errors(model, name) for name in ("LoRA", *GEOMETRIC)}
    rows = []
    for name in GEOMETRIC:
        (ours, half), (lora, lora_half) = found[name], found["LoRA"]
        rows += [
            BenchRow(
                f"update in float32 against float64, {name}, {model}, worst module",
                ours,
                lora,
                ours / MOST_FLOAT32,
                "",
                "6e-8: half a unit in the last place",
                f"<= {MOST_FLOAT32:g}",
                ours <= MOST_FLOAT32,
            ),
            BenchRow(
                f"update in bfloat16 against float64, {name} against LoRA, {model}, median module",
                half,
                lora_half,
                half / lora_half,
                "",
                "4e-3: half a unit in the last place",
                f"<= {MOST_BFLOAT16:g} x",
                half / lora_half <= MOST_BFLOAT16,
            ),
        ]
    return rows


def _errors(model: str, name: str) -> tuple[float, float]:
    """Worst float32 error over modules, and the median bfloat16 error."""
    policy = moved(model, ADAPTERS[name]).eval()
    single, half = [], []
    for layer, x in _inputs(policy):
        wide = copy.deepcopy(layer).double()
        exact = _update(wide, x.double())
        narrow = _with_bfloat16_factors(copy.deepcopy(layer))
        single.append(_distance(_update(layer, x), exact))
        half.append(_distance(_update(narrow, x.to(torch.bfloat16)), exact))
    return max(single), statistics.median(half)


def _with_bfloat16_factors(layer: Any) -> Any:
    """As on a bfloat16 base: curvatures and scales stay in float32."""
    kept = getattr(layer, "curvature_names", ())
    for name, parameter in layer.named_parameters():
        if name.split(".")[0] not in kept:
            parameter.data = parameter.data.to(torch.bfloat16)
    return layer


def _inputs(policy: Any) -> Iterator[tuple[Any, torch.Tensor]]:
    """Every adapted layer with what reaches it."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    seen: list[tuple[Any, torch.Tensor]] = []
    layers = [module for module in policy.modules() if isinstance(module, BaseTunerLayer)]
    handles = [
        layer.register_forward_pre_hook(lambda module, args: seen.append((module, args[0])))
        for layer in layers
    ]
    policy(input_ids=torch.tensor([prompts(1, length=64)[0]]))
    for handle in handles:
        handle.remove()
    yield from seen


def _update(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """What the adapter alone adds."""
    if hasattr(layer, "update"):
        return layer.update(x, "default").double()
    change = layer.lora_B["default"](layer.lora_A["default"](x)) * layer.scaling["default"]
    return change.double()


def _distance(ours: torch.Tensor, exact: torch.Tensor) -> float:
    return float((ours - exact).norm() / exact.norm())


def moved(model: str, adapter: AdapterConfig, *, spread: float = SPREAD) -> Any:
    """A policy whose adapter is off its start, around frozen weights that all of them share."""
    from rlpeft.adapters.policy import attach_adapter

    base = _base(model)
    # The same memory for every side: two copies of one model differ in speed by some percent.
    twin = copy.deepcopy(base, {id(weight): weight for weight in base.parameters()})
    policy = attach_adapter(twin, adapter, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return policy


@cache
def _base(model: str) -> Any:
    from rlpeft.models.folder import resolve_model
    from rlpeft.models.load import load_base_model

    return load_base_model(resolve_model(model), "float32")


def prompts(number: int, *, length: int) -> list[tuple[int, ...]]:
    """Random token ids, the same for every side."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, LARGEST_ID, (number, length), generator=generator)
    return [tuple(row) for row in ids.tolist()]


def generate(engine: Any, rollout: Workload) -> int:
    """Tokens written."""
    seeds = range(rollout.group_size)
    requests = [
        Request(str(k), ids, tuple(seeds))
        for k, ids in enumerate(prompts(rollout.groups, length=rollout.prompt))
    ]
    groups = engine.rollout(requests, Sampling(max_tokens=rollout.completion))
    return sum(len(completion.token_ids) for group in groups for completion in group)


def _per_token(sides: Mapping[str, Callable[[], int]], repeats: int) -> dict[str, float]:
    """Seconds a token, median.

    Raises:
        ModelError: the sides wrote different numbers of tokens, whose prefills weigh differently.
    """
    counts: dict[str, int] = {}

    def counted(name: str, run: Callable[[], int]) -> None:
        counts[name] = run()  # seeded: the same in every repeat

    timed = {name: lambda name=name, run=run: counted(name, run) for name, run in sides.items()}
    seconds = medians(interleave(timed, repeats=repeats))
    if max(counts.values()) > 1.1 * min(counts.values()):
        raise ModelError(
            f"timed sides must write about the same number of tokens, got {counts}. Lower "
            "SMALL_SPREAD."
        )
    return {name: seconds[name] / counts[name] for name in sides}


def _ratio_rows(
    what: str, seconds: Mapping[str, float], most: Mapping[str, float], *, unit: str = "s"
) -> list[BenchRow]:
    rows = []
    for name in seconds:
        if name == "LoRA":
            continue
        ratio, goal = seconds[name] / seconds["LoRA"], most.get(name)
        rows.append(
            BenchRow(
                f"{what}, {name} against PEFT LoRA r16",
                seconds[name],
                seconds["LoRA"],
                ratio,
                unit,
                "1 x by FLOPs",
                "shown beside" if goal is None else f"<= {goal:.2f} x",
                goal is None or ratio <= goal,
            )
        )
    return rows


def _gap_row(model: str, name: str, gap: float) -> BenchRow:
    return BenchRow(
        f"trainer and vLLM on identical tokens, {name}, {model}, float32, largest log-prob gap",
        gap,
        MOST_GAP,
        gap / MOST_GAP,
        "",
        "rounding of two orders of summation",
        f"<= {MOST_GAP:g}",
        gap <= MOST_GAP,
    )
