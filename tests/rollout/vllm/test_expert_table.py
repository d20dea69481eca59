"""Experts of several methods on their way into slots, in a worker that only has vLLM's manager."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save
from torch import nn

pytest.importorskip("vllm")

from rlpeft.adapter_state import tensors_digest
from rlpeft.adapters import HypLoraConfig
from rlpeft.adapters.svf.factors import Factors
from rlpeft.errors import EngineError
from rlpeft.rollout.vllm.adapted_linear import AdaptedLinear
from rlpeft.rollout.vllm.expert_table import ExpertTable
from rlpeft.rollout.vllm.svf_slice import SvfSlice

pytestmark = pytest.mark.vllm

SIZES, WIDTH = {"q": 8, "k": 4}, 8
LORA = LoraConfig(target_modules=["q"], r=3, lora_alpha=5)
HYPLORA = HypLoraConfig(target_modules=["q", "k"], r=3)


class Parts(nn.Module):
    """Two linear layers that an engine would fuse, the same every time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        for name, size in SIZES.items():
            setattr(self, name, nn.Linear(WIDTH, size, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([getattr(self, name)(x) for name in SIZES], -1)


class Worker:
    """vLLM's worker, as far as `slots.follow_slots` looks at it."""

    def __init__(self, slots: int) -> None:
        wrapper = SimpleNamespace(_token_lora_indices=torch.zeros(8, dtype=torch.long))
        wrapper.update_metadata = lambda slots: wrapper._token_lora_indices[:2].copy_(slots)
        self.manager = SimpleNamespace(
            punica_wrapper_mapping={"": wrapper},
            lora_slots=slots,
            lora_index_to_id=[None] * slots,
            activate_adapter=self._activate,
        )
        found = SimpleNamespace(_adapter_manager=self.manager, _load_adapter=None)
        self.model_runner = SimpleNamespace(lora_manager=found)
        self.removed: list[int] = []

    def _activate(self, lora_id: int) -> bool:
        self.manager.lora_index_to_id[lora_id % self.manager.lora_slots] = lora_id
        return True

    def remove_lora(self, lora_id: int) -> None:
        self.removed.append(lora_id)

    def step(self, *slots: int) -> None:
        (wrapper,) = self.manager.punica_wrapper_mapping.values()
        wrapper.update_metadata(torch.tensor(slots))


@pytest.fixture
def layer() -> AdaptedLinear:
    weight = torch.cat([getattr(Parts(), name).weight.detach() for name in SIZES])
    sizes = list(SIZES.values())
    none = [None, None]
    return AdaptedLinear(weight, names=list(SIZES), sizes=sizes, adapters=none, form="factored")


def drawn(config: Any) -> nn.Module:
    policy = get_peft_model(Parts(), config)
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad:
            start = parameter.data if "ia3" in name else 0
            parameter.data = start + 0.3 * torch.randn(parameter.shape)
    return policy


def parts(policy: nn.Module) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    values = get_peft_model_state_dict(policy, save_embedding_layers=False)
    return asdict(policy.peft_config["default"]), values


@torch.no_grad()
def test_experts_of_any_method_enter_the_slots_that_vllm_gives_them(layer: AdaptedLinear) -> None:
    worker = Worker(2)
    table = ExpertTable([layer], worker)
    policies = {10: drawn(LORA), 11: drawn(HYPLORA), 12: drawn(LORA)}
    for lora_id, policy in policies.items():
        config, values = parts(policy)
        assert table.add(lora_id, config, save(values)) == tensors_digest(values)
    x = torch.randn(2, WIDTH)
    for lora_ids in ((10, 11), (12, 11), (10, 11)):
        for lora_id in lora_ids:
            worker.manager.activate_adapter(lora_id)
        worker.step(0, 1)
        found = layer(x)
        for row, lora_id in enumerate(lora_ids):
            alone = policies[lora_id](x)[row]
            torch.testing.assert_close(found[row], alone, atol=1e-5, rtol=1e-5)
    table.drop(10)
    assert worker.removed == [10]
    with policies[11].disable_adapter():  # its slot is the base until another enters
        torch.testing.assert_close(layer(x)[0], policies[11](x)[0], atol=1e-5, rtol=1e-5)
    with pytest.raises(EngineError, match="LoRA id 10 must be of an expert that is held"):
        worker.manager.activate_adapter(10)


def test_an_expert_that_does_not_fit_is_refused_and_not_held(layer: AdaptedLinear) -> None:
    table = ExpertTable([layer], Worker(2))
    config, values = parts(drawn(LORA))
    first, *others = values
    nan = {**values, first: values[first] * torch.nan}
    elsewhere = {**values, "base_model.model.lm_head.lora_A.weight": torch.ones(1)}
    for wrong, said in (
        ({name: values[name] for name in others}, "must get its values"),
        ({**values, first: torch.zeros(2, 2)}, "of shape"),
        (elsewhere, "must have a place"),
        (nan, "must be finite"),
    ):
        with pytest.raises(EngineError, match=said):
            table.add(1, config, save(wrong))
    with pytest.raises(EngineError, match="must be safetensors"):
        table.add(1, config, b"\x80\x04")
    assert not table.held


def test_an_expert_that_could_overflow_is_refused_and_not_held(layer: AdaptedLinear) -> None:
    """Along one direction alone, too."""
    table = ExpertTable([layer], Worker(2))
    config, values = parts(drawn(LORA))
    table.add(1, config, save(values))
    for size in (1e4, 1e20, 3e38):
        large = {name: torch.zeros_like(value) for name, value in values.items()}
        for name, value in large.items():
            value.view(-1)[0] = size if "lora_B" in name else 1.0
        with pytest.raises(EngineError, match="no weight more than 100 times as large"):
            table.add(2, config, save(large))
    assert set(table.held) == {1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"r": "3"}, "rank 'r' .* whole number from 1 to 8, .* got '3'"),
        ({"r": 0}, "rank 'r' .* got 0"),
        ({"r": 10**15}, "rank 'r' .* got 1000000000000000"),
        ({"rank_pattern": {"q": 2.5}}, "rank 'q' .* got 2.5"),
        ({"rank_pattern": 5}, "values that PEFT can use, TypeError"),
        ({"lora_alpha": "x"}, "values that PEFT can use, TypeError"),
        ({"target_modules": 5}, "values that PEFT can use, TypeError"),
        ({"target_modules": "("}, "values that PEFT can use, .*unterminated"),
        ({"layers_pattern": 5}, "values that PEFT can use, ValueError"),
    ],
)
def test_a_config_of_other_values_is_refused(
    layer: AdaptedLinear, change: dict[str, Any], said: str
) -> None:
    table = ExpertTable([layer], Worker(2))
    config, values = parts(drawn(LORA))
    with pytest.raises(EngineError, match=said):
        table.add(1, config | change, save(values))
    assert not table.held


def test_experts_of_the_engines_own_method_could_overflow_as_little() -> None:
    adapter = SvfSlice(torch.eye(3), parametrisation="direct")
    adapter.take_factors(Factors(torch.eye(3), torch.ones(3), True, "d"))
    layer = AdaptedLinear(torch.eye(3), names=["q"], sizes=[3], adapters=[adapter], form="factored")
    table = ExpertTable([layer], Worker(2))
    name = "base_model.model.q.svf_z"
    z_KR = torch.tensor([[1.0, 2.0, 99.0], [-101.0, 1.0, 1.0]])
    table.load(save({name: z_KR[:1]}), [1], {"q": "d"})
    with pytest.raises(EngineError, match="no weight more than 100 times as large"):
        table.load(save({name: z_KR}), [2, 3], {"q": "d"})
    assert set(table.held) == {1}


def test_what_changes_more_than_a_products_output_does_not_share_it(layer: AdaptedLinear) -> None:
    table = ExpertTable([layer], Worker(2))
    config, values = parts(drawn(IA3Config(target_modules=["q"], feedforward_modules=[])))
    with pytest.raises(EngineError, match="LoRA, DoRA, HypLoRA, MoSLoRA, got IA3"):
        table.add(1, config, save(values))
