"""The table of methods: every record is whole, and nobody asks elsewhere which method it is."""

import ast
import json
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import LlamaConfig, LlamaForCausalLM

import rlpeft
from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.methods import (
    METHODS,
    RENAMED,
    changes_base,
    labels,
    meant,
    method_of,
    mixed_section,
    named,
)
from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.recipe.run import parse_recipe

SMALL = LlamaConfig(
    vocab_size=40,
    hidden_size=32,
    intermediate_size=48,
    num_attention_heads=2,
    num_key_value_heads=2,
    num_hidden_layers=1,
)
RANKED = ("lora", "dora", "hyplora", "moslora")


def section(name):
    tree = {"name": "a", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}
    adapter = {"type": name} | ({"rank": 8} if name in RANKED else {})
    return parse_recipe(tree | {"adapter": adapter}, source="a").adapter


def state(name):
    return adapter_state(attach_adapter(LlamaForCausalLM(SMALL), section(name), seed=0), 1)


@pytest.mark.parametrize("name", METHODS)
def test_a_record_says_what_its_line_says(name):
    record = named(name)
    assert record.name == name
    assert record.peft_type in PEFT_TYPE_TO_CONFIG_MAPPING
    if record.slice is not None:
        assert callable(resolve_name(record.slice.make))


@pytest.mark.parametrize("name", METHODS)
def test_a_policy_is_known_by_what_it_sends(name):
    assert method_of(state(name).config) is named(name)


@pytest.mark.parametrize("name", METHODS)
def test_what_becomes_a_lora_has_its_whole_update_in_one_matrix(name):
    policy = attach_adapter(LlamaForCausalLM(SMALL), section(name), seed=0)
    layer = next(m for m in policy.modules() if isinstance(m, BaseTunerLayer))
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.requires_grad:
                parameter += torch.linspace(0.1, 0.3, parameter.numel()).view(parameter.shape)
    x = torch.linspace(-1, 1, layer.in_features).view(1, 1, -1)
    base = layer.get_base_layer()(x)
    whole = layer.supports_lora_conversion("default") and torch.allclose(
        layer(x), base + x @ layer.get_delta_weight("default").T, atol=1e-5
    )
    assert named(name).becomes_lora == whole


@pytest.mark.parametrize("name", METHODS)
def test_the_change_of_a_fresh_adapter_is_nothing(name):
    if (change := named(name).change) is None:
        pytest.skip("its update depends on the token")
    found = change.read(state(name), "tiny")
    assert found
    assert all(values.abs().max() < 1e-6 for values in found.values())


@pytest.mark.parametrize("name", METHODS)
def test_an_adapter_equals_its_base_until_it_has_moved(name):
    base = LlamaForCausalLM(SMALL)
    fresh, again = (
        adapter_state(attach_adapter(deepcopy(base), section(name), seed=0), 1) for _ in range(2)
    )
    assert changes_base(fresh, "tiny") is False
    assert fresh.digest == again.digest  # by which a run knows that it kept its base
    for key, moved in fresh.tensors.items():
        tensors = {**fresh.tensors, key: moved + 0.5}
        assert replace(fresh, tensors=tensors).digest != fresh.digest
    tensors = {key: moved + 0.5 for key, moved in fresh.tensors.items()}
    assert changes_base(replace(fresh, tensors=tensors), "tiny") is True


def test_of_a_method_out_of_the_table_nobody_can_tell_whether_it_changes_anything():
    assert changes_base(AdapterState({"peft_type": "VERA"}, {}, 0, {}), "tiny") is None


@pytest.mark.parametrize("name", METHODS)
def test_a_card_and_a_config_of_one_adapter_mean_the_same(name):
    said, found = meant(section(name).model_dump(mode="json"), state(name).config)
    found = json.loads(json.dumps(found))
    assert {option: found[option] for option in said} == said


@pytest.mark.parametrize("name", ["svf", "hyplora", "moslora"])
def test_an_option_that_recipes_have_is_documented_there_alone(name):
    config = PEFT_TYPE_TO_CONFIG_MAPPING[named(name).peft_type]
    helps = {field.name: field.metadata.get("help") for field in fields(config)}
    options = type(section(name)).model_fields.items()
    for option, field in options:
        if option not in ("type", "targets"):  # PEFT has no attention-and-mlp
            assert field.description
            assert helps[RENAMED.get(option, option)] == field.description


def test_a_method_out_of_the_table_has_no_record():
    assert method_of({"peft_type": "VERA"}) is None


def test_dora_is_told_from_lora_by_its_option():
    assert method_of({"peft_type": "LORA"}) is named("lora")
    assert method_of({"peft_type": "LORA", "use_dora": True}) is named("dora")


def test_methods_are_listed_by_what_they_can_do():
    assert labels(lambda method: method.mixing) == "SVF"
    assert labels(lambda method: method.is_mergeable) == "SVF, LoRA, DoRA, IA3"


def test_mixtures_run_under_the_options_of_their_method():
    assert mixed_section({"parametrisation": "sigmoid_renorm"}) == {"parametrisation": "direct"}
    assert mixed_section({"type": "lora", "rank": 8}) == {"type": "lora", "rank": 8}


def asks(tree):
    """Where a module asks which method it has before it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            kind = ast.unparse(node.args[1])
            if kind.endswith("Adapter") or kind in ("SvfLinear", "LowRankModel", "LowRankLayer"):
                yield ast.unparse(node)
        if isinstance(node, ast.Compare):
            names = METHODS.keys() | {name.upper() for name in METHODS}
            constants = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
            if names & {c for c in constants if isinstance(c, str)}:
                yield ast.unparse(node)


def test_a_question_about_the_method_is_found():
    assert list(asks(ast.parse("if isinstance(adapter, SvfAdapter): pass")))
    assert list(asks(ast.parse("config.peft_type == 'SVF'")))
    assert not list(asks(ast.parse("isinstance(x, dict) and method.slice is None")))


def test_nobody_asks_which_method_it_is_but_the_methods():
    root = Path(rlpeft.__file__).parents[1]
    files = [*root.glob("rlpeft/**/*.py"), *root.glob("jobs/**/*.py")]
    own = {root / "rlpeft" / "adapters" / name for name in ("svf", "lowrank", "lora.py")}
    found = {
        str(path.relative_to(root)): questions
        for path in files
        if not own & {path, *path.parents}
        and (questions := list(asks(ast.parse(path.read_text()))))
    }
    assert {*found} <= {
        "rlpeft/adapters/moslora/model.py",
        "jobs/bench/learner.py",  # these measure methods against each other
        "jobs/bench/sync.py",
    }
