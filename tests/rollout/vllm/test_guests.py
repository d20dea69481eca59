"""Tokens of one step that run adapters of several methods, against each PEFT layer alone."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from torch import nn

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig, SvfConfig
from rlpeft.adapters.method import Method
from rlpeft.adapters.methods import methods
from rlpeft.rollout.vllm.adapted_linear import AdaptedLinear
from rlpeft.rollout.vllm.guests import Tokens
from rlpeft.rollout.vllm.peft_config import make_slice, read_config
from rlpeft.rollout.vllm.slice_adapters import Form
from rlpeft.rollout.vllm.svf_slice import SvfSlice

SIZES = {"q": 8, "k": 4, "up": 24}  # as wide as, narrower and wider than the input
WIDTH, SLOTS = 8, 6
CONFIGS = [
    SvfConfig(target_modules=["q", "k", "up"]),
    LoraConfig(target_modules=["q", "up"], r=3, lora_alpha=5),
    LoraConfig(target_modules=["k"], r=2, use_dora=True),
    HypLoraConfig(target_modules=["q", "up"], r=3),
    MoSLoraConfig(target_modules=["q", "k"], r=6),
]
"""In the order of their slots."""


class Parts(nn.Module):
    """Three linear layers that an engine would fuse, the same for every seed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        for name, size in SIZES.items():
            setattr(self, name, nn.Linear(WIDTH, size, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([getattr(self, name)(x) for name in SIZES], -1)


def drawn(config: Any) -> nn.Module:
    policy = get_peft_model(Parts(), replace(config))
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad:
            start = parameter.data if "magnitude" in name or "svf" in name else 0
            parameter.data = start + 0.3 * torch.randn(parameter.shape)
    return policy


def values(policy: nn.Module, module: str) -> dict[str, torch.Tensor]:
    start = f"base_model.model.{module}."
    found = get_peft_model_state_dict(policy, save_embedding_layers=False)
    return {n.removeprefix(start): v for n, v in found.items() if n.startswith(start)}


def shared_layer(policies: list[nn.Module], slots_T: torch.Tensor, form: Form) -> AdaptedLinear:
    """One fused layer in which slot k runs policy k, the first of which is SVF's."""
    svf = policies[0]
    parts = {name: getattr(svf.base_model.model, name).base_layer.weight for name in SIZES}
    config = read_config(asdict(svf.peft_config["default"]))
    slices = [make_slice(config, name, weight, form=form) for name, weight in parts.items()]
    sizes, weight = list(SIZES.values()), torch.cat(list(parts.values()))
    layer = AdaptedLinear(weight, names=list(SIZES), sizes=sizes, adapters=slices, form=form)
    tokens = Tokens(slots_T)
    guests = dict(zip(SIZES, layer.take_guests(tokens), strict=True))
    for name, each in zip(SIZES, slices, strict=True):
        assert isinstance(each, SvfSlice)
        each.take_factors(getattr(svf.base_model.model, name).factors)
        each.take_experts(SLOTS, tokens.rows)
        each.set_expert(0, values(svf, name)["svf_z"])
        for slot in range(1, SLOTS):
            each.set_expert(slot, None)
    layer.refresh()
    for slot, policy in enumerate(policies[1:], start=1):
        own = read_config(asdict(policy.peft_config["default"]))
        for name, weight in parts.items():
            if found := values(policy, name):
                guest = make_slice(own, name, weight)
                assert set(guest.tensors) == set(found)
                for key, value in found.items():
                    guest.tensors[key].copy_(value)
                guest.refresh()
                guests[name].put(slot, guest)
    return layer


@pytest.mark.parametrize("form", ["factored", "spectral"])
@torch.no_grad()
def test_every_token_runs_its_own_expert_of_any_method(form: Form) -> None:
    policies = [drawn(config) for config in CONFIGS]
    slots_T = torch.tensor([0, 1, -1, 2, 3, 4, 1, 0, -1, 5])
    layer = shared_layer(policies, slots_T, form)
    x = torch.randn(len(slots_T), WIDTH)
    found = layer(x)
    with policies[0].disable_adapter():
        base = policies[0](x)
    for token, slot in enumerate(slots_T.tolist()):
        alone = policies[slot](x)[token] if 0 <= slot < len(CONFIGS) else base[token]
        torch.testing.assert_close(found[token], alone, atol=1e-5, rtol=1e-5)
    assert (found - base).abs().max(1).values[[0, 1, 3, 4, 5]].min() > 0.01


@torch.no_grad()
def test_another_step_has_other_tokens_and_a_slot_another_expert() -> None:
    policies = [drawn(config) for config in CONFIGS]
    slots_T = torch.tensor([1, 2, 1])
    layer = shared_layer(policies, slots_T, "factored")
    x = torch.randn(3, WIDTH)
    layer(x)
    slots_T.copy_(torch.tensor([2, 2, 2]))
    for guests in layer._guests:
        guests.tokens.renew()
    torch.testing.assert_close(layer(x), policies[2](x), atol=1e-5, rtol=1e-5)
    for guests in layer._guests:
        guests.put(2, None)
    with policies[0].disable_adapter():
        torch.testing.assert_close(layer(x), policies[0](x), atol=1e-5, rtol=1e-5)


def guest(method: Method) -> bool:
    return method.slice is not None and method.slice.is_guest


def test_methods_that_share_a_batch_bend_no_input_and_no_bias() -> None:
    assert [m.name for m in methods() if guest(m)] == ["lora", "dora", "hyplora", "moslora"]
    policy = {type(c).__name__: drawn(c) for c in CONFIGS[1:]}
    for each in policy.values():
        own = read_config(asdict(each.peft_config["default"]))
        bias_M = torch.randn(8)
        built = make_slice(own, "q", torch.randn(8, WIDTH))
        assert not built.bends_input
        assert built.bias(bias_M) is bias_M
