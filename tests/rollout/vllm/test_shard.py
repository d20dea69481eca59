"""Slices that workers of a tensor-parallel engine share, against the PEFT layers they stand for.

Workers are threads here, and meet where they add up; no vLLM is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from threading import Barrier
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from torch import nn

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig, SvfConfig
from rlpeft.adapters.svf import SvfLinear
from rlpeft.rollout.vllm.adapted_linear import AdaptedLinear
from rlpeft.rollout.vllm.peft_config import make_slice, read_config
from rlpeft.rollout.vllm.shard import Shard
from rlpeft.rollout.vllm.slice_adapters import FactoredSlice
from rlpeft.rollout.vllm.values import probed_growths

WIDTH = 24
FUSED = {
    "qkv": {"q": 24, "k": 12, "v": 12},
    "mlp": {"gate": 36, "up": 36},
    "wide": {"q": 48, "k": 12, "v": 12},  # more heads than the model is wide, as in Qwen3
}
SPLIT_INPUT = {"o": (24, 48), "down": (48, 24)}  # (out_features, in_features), both sides of SVF
NAMES = ("q", "k", "v", "gate", "up", "o", "down")

CONFIGS = {
    "svf": SvfConfig(target_modules=list(NAMES)),
    "svf sigmoid": SvfConfig(target_modules=list(NAMES), parametrisation="sigmoid_renorm"),
    "svf some": SvfConfig(target_modules=["k", "up", "down"]),
    "lora": LoraConfig(target_modules=list(NAMES), r=5, lora_alpha=7),
    "dora": LoraConfig(target_modules=list(NAMES), r=5, use_dora=True),
    "ia3": IA3Config(target_modules=list(NAMES), feedforward_modules=["down"]),
    "hyplora": HypLoraConfig(target_modules=list(NAMES), r=5),
    "hyplora boost": HypLoraConfig(target_modules=list(NAMES), r=5, variant="boost"),
    "hyplora unit": HypLoraConfig(target_modules=list(NAMES), r=5, norm_mode="unit"),
    "moslora": MoSLoraConfig(target_modules=list(NAMES), r=6),
    "moslora mlp": MoSLoraConfig(target_modules=list(NAMES), r=24, router="mlp"),
    "moslora z": MoSLoraConfig(target_modules=list(NAMES), r=6, router="z"),
}


class Parts(nn.Module):
    """Linear layers, by their name, (out_features, in_features)."""

    def __init__(self, shapes: Mapping[str, tuple[int, int]]) -> None:
        super().__init__()
        for name, (rows, columns) in shapes.items():
            setattr(self, name, nn.Linear(columns, rows))


def policy_of(config: PeftConfig, shapes: Mapping[str, tuple[int, int]]) -> nn.Module:
    torch.manual_seed(0)
    policy = get_peft_model(Parts(shapes), config)
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad:
            start = parameter.data if "magnitude" in name or "svf" in name else 0
            parameter.data = start + 0.3 * torch.randn(parameter.shape)
    return policy.eval()


class Sum:
    """What `Shard.add` is: each worker brings its own, and gets the sum of all."""

    def __init__(self, workers: int) -> None:
        self.barrier, self.brought = Barrier(workers, timeout=20), [torch.empty(0)] * workers
        self.calls = 0

    def of(self, rank: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def add(tensor: torch.Tensor) -> torch.Tensor:
            assert tensor.is_contiguous(), "collectives take nothing else"
            self.brought[rank] = tensor
            self.barrier.wait()
            total = sum(self.brought, torch.zeros(()))
            self.calls += rank == 0
            self.barrier.wait()
            return tensor.copy_(total)  # as some do it: in place

        return add


def layer_of(
    policy: nn.Module, parts: Mapping[str, Shard], weights: Mapping[str, torch.Tensor]
) -> AdaptedLinear:
    """A worker's layer, given its values."""
    config = read_config(asdict(policy.peft_config["default"]))
    linear = {name: getattr(policy.base_model.model, name) for name in parts}
    adapters = [
        make_slice(config, name, weights[name], shard=shard)
        if hasattr(linear[name], "base_layer")
        else None
        for name, shard in parts.items()
    ]
    layer = AdaptedLinear(
        torch.cat([weights[name] for name in parts]),
        names=list(parts),
        sizes=[len(weights[name]) for name in parts],
        adapters=adapters,
        form="factored",
        shards=list(parts.values()),
    )
    values = get_peft_model_state_dict(policy, save_embedding_layers=False)
    for name, adapter in zip(parts, adapters, strict=True):
        if isinstance(adapter, FactoredSlice) and isinstance(linear[name], SvfLinear):
            adapter.take_factors(linear[name].factors)
        for suffix, tensor in adapter.tensors.items() if adapter else ():
            tensor.copy_(values[f"base_model.model.{name}.{suffix}"])
    layer.refresh()
    return layer


def together(workers: int, run: Callable[[int], Any]) -> list[Any]:
    """What each worker gives, in a thread of its own."""

    def alone(rank: int) -> Any:
        with torch.no_grad():
            return run(rank)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(alone, range(workers)))


def base_weight(policy: nn.Module, name: str) -> torch.Tensor:
    linear = getattr(policy.base_model.model, name)
    return getattr(linear, "base_layer", linear).weight.detach()


def expected(policy: nn.Module, name: str, x: torch.Tensor) -> torch.Tensor:
    """The PEFT layer's output, without bias."""
    linear = getattr(policy.base_model.model, name)
    with torch.no_grad():
        getattr(linear, "base_layer", linear).bias.zero_()
        return linear(x)


def by_rows(
    policy: nn.Module, sizes: Mapping[str, int], workers: int, copies: int = 1
) -> tuple[Sum, dict[str, torch.Tensor], torch.Tensor]:
    """A column-parallel layer: the sum, each slice's output joined over workers, and x."""
    total, x = Sum(workers), torch.randn(5, WIDTH)

    def run(rank: int) -> Sequence[torch.Tensor]:
        parts, weights = {}, {}
        for name in sizes:
            each = copies if name in "kv" else 1
            held = base_weight(policy, name).chunk(workers // each)[rank // each]
            parts[name] = Shard.of_rows(
                held, rank=rank, workers=workers, copies=each, add=total.of(rank)
            )
            weights[name] = held
        layer = layer_of(policy, parts, weights)
        total.calls = 0
        return layer(x).split([len(held) for held in weights.values()], -1)

    found = together(workers, run)
    joined = {}
    for k, name in enumerate(sizes):
        each = copies if name in "kv" else 1
        joined[name] = torch.cat([found[rank][k] for rank in range(0, workers, each)], -1)
    return total, joined, x


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    ("layer", "workers", "copies"),
    [("qkv", 2, 1), ("qkv", 4, 2), ("mlp", 2, 1), ("mlp", 3, 1), ("wide", 2, 2)],
)
def test_layers_split_by_outputs_give_what_the_whole_gives_by_one_sum_at_most(
    name: str, layer: str, workers: int, copies: int
) -> None:
    sizes = FUSED[layer]
    policy = policy_of(CONFIGS[name], {part: (rows, WIDTH) for part, rows in sizes.items()})
    total, joined, x = by_rows(policy, sizes, workers, copies)
    for part, y in joined.items():
        torch.testing.assert_close(y, expected(policy, part, x), atol=1e-5, rtol=1e-5)
    assert total.calls <= 1


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("module", SPLIT_INPUT)
@pytest.mark.parametrize("name", CONFIGS)
def test_layers_split_by_inputs_give_addends_of_what_the_whole_gives(
    name: str, module: str, workers: int
) -> None:
    rows, columns = SPLIT_INPUT[module]
    policy = policy_of(CONFIGS[name], {module: (rows, columns), "k": (8, 8)})
    total, x = Sum(workers), torch.randn(5, columns)

    def run(rank: int) -> torch.Tensor:
        held = base_weight(policy, module).chunk(workers, -1)[rank].contiguous()
        shard = Shard.of_columns(held, rank=rank, workers=workers, add=total.of(rank))
        layer = layer_of(policy, {module: shard}, {module: held})
        return layer(x.chunk(workers, -1)[rank].contiguous())

    addends = together(workers, run)
    # Added up in another order; MoSLoRA's maps multiply what that rounds, on some processors more.
    torch.testing.assert_close(sum(addends), expected(policy, module, x), atol=5e-5, rtol=5e-5)


def growths(policy: nn.Module, parts: Mapping[str, tuple[Shard, torch.Tensor]]) -> dict[str, float]:
    """What `probed_growths` finds of adapters, each around a weight or a worker's part of it."""
    shards = {name: shard for name, (shard, _) in parts.items()}
    weights = {name: held for name, (_, held) in parts.items()}
    layers = {name: layer_of(policy, {name: shards[name]}, weights) for name in parts}
    guests = {name: layer.adapter(name) for name, layer in layers.items()}
    return probed_growths(guests, weights, shards)


@pytest.mark.parametrize("name", ["lora", "dora", "hyplora", "moslora"])
def test_every_worker_finds_the_growth_of_the_whole(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of(CONFIGS[name], {"q": (24, 24), "k": (12, 24), "o": (24, 48)})
    weights = {part: base_weight(policy, part) for part in "qko"}
    workers, total, draw = 4, Sum(4), torch.randn
    monkeypatch.setattr(  # as workers draw that were seeded alike
        torch, "randn", lambda *size: draw(*size, generator=torch.Generator().manual_seed(0))
    )

    def run(rank: int) -> dict[str, float]:
        options: dict[str, Any] = {"rank": rank, "workers": workers, "add": total.of(rank)}
        parts = {}
        for part, copies in {"q": 1, "k": 2}.items():
            held = weights[part].chunk(workers // copies)[rank // copies]
            parts[part] = Shard.of_rows(held, copies=copies, **options), held
        held = weights["o"].chunk(workers, -1)[rank].contiguous()
        return growths(policy, {**parts, "o": (Shard.of_columns(held, **options), held)})

    whole = growths(policy, {part: (Shard.whole(w), w) for part, w in weights.items()})
    found = together(workers, run)
    assert found == [found[0]] * workers
    assert found[0] == pytest.approx(whole, rel=1e-4)
