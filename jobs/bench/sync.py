"""Policy updates into real vLLM, and what the adapter costs there for each token.

Two vLLM engines live at once (the plugin's and a plain one), so that tokens per second are taken
in turn on the same machine in the same minutes.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from jobs.bench.rows import BenchRow, interleave, medians
from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.models.device import own_device
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.recipe.run import SvfAdapter
from rlpeft.types import Request, Sampling

MOST_BYTES = 500_000
MOST_S = 0.030
FORMS = ("factored", "spectral", "dense")
PROMPTS = (
    "The three most useful things to know about a bicycle are",
    "A recipe for bread needs flour, water, salt and",
    "In the morning the harbour was quiet, and the first boat",
    "To find the area of a triangle, multiply the base by",
)


def rows(
    *,
    model: str = "smollm2-135m",
    forms: Sequence[str] = FORMS,
    num_syncs: int = 20,
    repeats: int = 3,
    num_seeds: int = 8,
    max_tokens: int = 32,
) -> Iterator[BenchRow]:
    """Bytes and seconds of a sync, and tokens per second of the plugin against plain vLLM."""
    path = resolve_model(model)
    policy = attach_adapter(load_base_model(path), SvfAdapter(), seed=0)
    updates = list(_updates(policy, num_syncs))
    floors = form_floors(policy)
    size = sum(p.numel() * p.element_size() for p in policy.get_base_model().parameters())
    yield _bytes_row(model, updates[0], size)
    requests, sampling = _requests(path, num_seeds), Sampling(max_tokens=max_tokens)
    with _engine(path, None) as plain:
        for form in forms:
            with _engine(path, updates[0].config, form=form) as ours:
                yield _sync_row(model, form, ours, updates)
                sides = {"ours": (ours, requests), "plain": (plain, requests)}
                rates = token_rates(sides, sampling, repeats=repeats)
            yield _rate_row(model, form, rates, floors[form])


def token_rates(
    sides: Mapping[str, tuple[Any, Sequence[Request]]], sampling: Sampling, *, repeats: int
) -> dict[str, float]:
    """Tokens which each engine writes per second for its requests, the engines in turn."""
    counts: dict[str, list[int]] = {name: [] for name in sides}

    def generate(name: str) -> None:
        engine, requests = sides[name]
        groups = engine.rollout(requests, sampling)
        counts[name].append(sum(len(c.token_ids) for group in groups for c in group))

    runs = {name: lambda name=name: generate(name) for name in sides}
    seconds = medians(interleave(runs, repeats=repeats))
    return {name: statistics.median(counts[name]) / seconds[name] for name in sides}


def form_floors(policy: Any) -> dict[str, float]:
    """Tokens per second against the base model, by FLOPs, of each form."""
    plain, factored = plain_flops(policy), factor_flops(policy)
    return {
        "factored": plain / (plain + factored),
        "spectral": plain / (plain + factored / 2),
        "dense": 1.0,
    }


def plain_flops(policy: Any) -> int:
    """FLOPs of a token in the linear layers and the output head, without adapter or attention."""
    from rlpeft.adapters.svf import SvfLinear

    adapted = [m for m in policy.modules() if isinstance(m, SvfLinear)]
    head = policy.get_base_model().get_output_embeddings().weight
    return 2 * (sum(m.out_features * m.in_features for m in adapted) + head.numel())


def factor_flops(policy: Any) -> int:
    """FLOPs which the factored form adds to a token: two R x R products a layer."""
    from rlpeft.adapters.svf import SvfLinear

    adapted = [m for m in policy.modules() if isinstance(m, SvfLinear)]
    return sum(4 * min(m.out_features, m.in_features) ** 2 for m in adapted)


def _updates(policy: Any, number: int) -> Iterator[AdapterState]:
    generator = torch.Generator().manual_seed(0)
    for version in range(number):
        for parameter in policy.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.data = 1 + 0.01 * noise
        yield adapter_state(policy, version)


def _engine(path: Path, config: Mapping[str, Any] | None, **options: Any) -> Any:
    from rlpeft.rollout.vllm.engine import VllmEngine

    threads = torch.get_num_threads()
    if own_device() == "cuda":
        options["gpu_memory_utilization"] = 0.4  # two live at once
    return closing(VllmEngine(path, config, max_model_len=256, num_threads=threads, **options))


def _requests(path: Path, num_seeds: int) -> list[Request]:
    tokenizer = load_tokenizer(path)
    seeds = tuple(range(num_seeds))
    return [Request(p, tuple(tokenizer(p)["input_ids"]), seeds) for p in PROMPTS]


def _bytes_row(model: str, update: AdapterState, merged: int) -> BenchRow:
    return BenchRow(
        figure=f"bytes per sync, {model}, all linear, against a merged push",
        ours=update.num_bytes,
        peer=merged,
        ratio=update.num_bytes / merged,
        unit="B",
        floor=f"{update.num_bytes // 4} fp32 numbers: one a singular value",
        goal=f"<= {MOST_BYTES} B",
        met=update.num_bytes <= MOST_BYTES,
    )


def _sync_row(model: str, form: str, engine: Any, updates: Sequence[AdapterState]) -> BenchRow:
    taken = []
    for update in updates:
        delivery = engine.load_adapter(update)
        assert delivery.digest == update.digest
        taken.append(delivery.seconds)
    seconds = statistics.median(taken)
    return BenchRow(
        figure=f"sync into vLLM incl. digest check, {model}, {form} form, against the limit",
        ours=seconds * 1e3,
        peer=MOST_S * 1e3,
        ratio=seconds / MOST_S,
        unit="ms",
        floor="two round trips between processes",
        goal="<= 1 x" if form != "dense" else "reported: it rebuilds every matrix",
        met=form == "dense" or seconds <= MOST_S,
    )


def _rate_row(model: str, form: str, rates: dict[str, float], floor: float) -> BenchRow:
    ratio = rates["ours"] / rates["plain"]
    return BenchRow(
        figure=f"tokens per second, {model}, plugin in {form} form against plain vLLM",
        ours=rates["ours"],
        peer=rates["plain"],
        ratio=ratio,
        unit="/s",
        floor=f"{floor:.2f} x by FLOPs of the matrices",
        goal=f">= {0.9 * floor:.2f} x (0.9 of the floor)",
        met=ratio >= 0.9 * floor,
    )
