"""What an expert changes, read from its file, against the modules that PEFT makes of it."""

import math

import pytest
import torch

from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.adapters.svf import SvfLinear
from rlpeft.errors import ExpertError, ModelError
from rlpeft.experts.change import changes, difference, kind_stats, place
from rlpeft.experts.files import load_expert
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.recipe.run import LoraFamilyAdapter, SvfAdapter

Q0, Q1, UP0 = (
    "base_model.model.model.layers.0.self_attn.q_proj.svf_z",
    "base_model.model.model.layers.1.self_attn.q_proj.svf_z",
    "base_model.model.model.layers.0.mlp.up_proj.svf_z",
)


def trained(adapter):
    """The tiny base with a randomly moved adapter, its config and its tensors."""
    policy = attach_adapter(load_base_model(resolve_model("tiny")), adapter, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return policy, adapter_state(policy, 1)


def svf(*values):
    return torch.tensor(values)


def test_the_base_model_is_no_change(make_expert):
    expert = load_expert(make_expert("base", {Q0: torch.ones(4)}))
    assert changes(expert)["model.layers.0.self_attn.q_proj"].abs().max() == 0


@pytest.mark.parametrize("parametrisation", ["direct", "sigmoid_renorm"])
def test_the_change_of_svf_is_what_its_layers_multiply_by(make_expert, parametrisation):
    policy, state = trained(
        SvfAdapter(parametrisation=parametrisation, targets=("q_proj", "up_proj"))
    )
    expert = load_expert(make_expert("swap", state.tensors, config=state.config))
    found = changes(expert)
    layers = {n: m for n, m in policy.get_base_model().named_modules() if isinstance(m, SvfLinear)}
    assert found.keys() == layers.keys()
    for name, layer in layers.items():
        torch.testing.assert_close(found[name], layer.multiplier().detach() - 1)


def test_the_change_of_lora_is_its_delta_weight(make_expert):
    policy, state = trained(LoraFamilyAdapter(type="lora", rank=3, alpha=5.0, targets=("q_proj",)))
    found = changes(load_expert(make_expert("lora", state.tensors, config=state.config)))
    for name, change in found.items():
        layer = policy.get_base_model().get_submodule(name)
        torch.testing.assert_close(change, layer.get_delta_weight("default").detach())


def test_the_change_of_ia3_is_its_scale_less_one(make_expert):
    tensors = {"base_model.model.model.layers.0.self_attn.k_proj.ia3_l": svf(1.5, 0.75)[:, None]}
    expert = load_expert(make_expert("ia3", tensors, config={"peft_type": "IA3"}))
    assert changes(expert)["model.layers.0.self_attn.k_proj"].tolist() == [0.5, -0.25]


def test_a_method_without_a_readable_change_is_refused(make_expert):
    expert = load_expert(make_expert("x", {Q0: svf(1.0)}, config={"peft_type": "BONE"}))
    with pytest.raises(ExpertError, match="'BONE'"):
        changes(expert)


def test_a_base_without_the_module_is_named(make_expert):
    tensors = {"base_model.model.model.layers.99.self_attn.q_proj.svf_z": svf(0.1)}
    config = {"peft_type": "SVF", "parametrisation": "sigmoid_renorm"}
    with pytest.raises(ModelError, match=r"layers\.99"):
        changes(load_expert(make_expert("x", tensors, config=config)))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("model.layers.12.mlp.down_proj", (12, "down_proj")),
        ("transformer.h.3.attn.c_attn", (3, "c_attn")),
        ("lm_head", (-1, "lm_head")),
    ],
)
def test_a_module_has_a_layer_and_a_kind(module, expected):
    assert place(module) == expected


def test_kinds_are_summed_up_in_the_order_of_the_model(make_expert):
    tensors = {UP0: svf(1.0, 1.0), Q0: svf(1.3, 1.0), Q1: svf(0.6, 1.0)}
    query, up = kind_stats(changes(load_expert(make_expert("x", tensors))))
    assert (query.kind, query.num_modules, query.num_values) == ("q_proj", 2, 4)
    assert query.low == pytest.approx(-0.4)
    assert query.high == pytest.approx(0.3)
    assert query.rms == pytest.approx(math.sqrt((0.09 + 0.16) / 4))
    assert (up.kind, up.rms) == ("up_proj", 0.0)


def test_two_experts_differ_by_angle_and_by_distance(make_expert):
    first = load_expert(make_expert("a", {Q0: svf(1.1, 1.0)}))
    second = load_expert(make_expert("b", {Q0: svf(1.1, 1.1), UP0: svf(2.0)}))
    found = difference(first, second)
    assert found.cosine == pytest.approx(1 / math.sqrt(2), abs=1e-5)
    assert found.distances == {
        "model.layers.0.self_attn.q_proj": pytest.approx(math.sqrt(0.01 / 2), abs=1e-6)
    }


def test_an_expert_that_changes_nothing_has_no_direction(make_expert):
    first = load_expert(make_expert("a", {Q0: svf(1.0, 1.0)}))
    second = load_expert(make_expert("b", {Q0: svf(1.1, 1.1)}))
    assert difference(first, second).cosine == 0


def test_experts_of_two_bases_are_not_compared(make_expert):
    first = load_expert(make_expert("a", {Q0: svf(1.1)}, base_digest="a" * 64))
    second = load_expert(make_expert("b", {Q0: svf(1.1)}, base_digest="c" * 64))
    with pytest.raises(ExpertError, match=r"aaaaaaaaaaaa.*cccccccccccc"):
        difference(first, second)


def test_experts_of_two_methods_are_not_compared(make_expert):
    first = load_expert(make_expert("a", {Q0: svf(1.1)}))
    name = Q0.replace("svf_z", "ia3_l")
    second = load_expert(make_expert("b", {name: svf(1.1)}, config={"peft_type": "IA3"}))
    with pytest.raises(ExpertError, match="one method"):
        difference(first, second)
