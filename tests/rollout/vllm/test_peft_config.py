"""Names and configs inside vLLM. No vLLM is needed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig

from rlpeft.adapters import HypLoraConfig, SvfConfig
from rlpeft.errors import EngineError
from rlpeft.rollout.vllm.peft_config import (
    choose_form,
    is_target,
    make_slice,
    read_config,
    slice_names,
)

PACKED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
LAYER = "model.layers.3.self_attn."


def svf(**options: Any) -> dict[str, Any]:
    return asdict(SvfConfig(**options))


def test_a_fused_layer_is_named_by_its_parts_in_order() -> None:
    names = slice_names(LAYER + "qkv_proj", PACKED)
    assert names == [LAYER + "q_proj", LAYER + "k_proj", LAYER + "v_proj"]


def test_a_layer_that_is_not_fused_keeps_its_name() -> None:
    assert slice_names(LAYER + "o_proj", PACKED) == [LAYER + "o_proj"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"target_modules": ["q_proj"]}, True),
        ({"target_modules": ["k_proj"]}, False),
        ({"target_modules": "all-linear"}, True),
        ({"target_modules": r".*\.3\..*q_proj"}, True),
        ({"target_modules": r".*\.4\..*q_proj"}, False),
        ({"target_modules": ["q_proj"], "layers_to_transform": [3]}, True),
        ({"target_modules": ["q_proj"], "layers_to_transform": [2]}, False),
        ({"target_modules": ["q_proj"], "exclude_modules": ["q_proj"]}, False),
    ],
)
def test_targets_are_matched_as_peft_matches_them(options: dict[str, Any], expected: bool) -> None:
    assert is_target(read_config(svf(**options)), LAYER + "q_proj") is expected


@pytest.mark.parametrize(
    "name",
    [
        "q_proj", "my_q_proj", "q_proj_2", "q_proj.inner", "q_projection", "xq_proj", "Q_proj",
        "0.q_proj", "k_proj.q_proj_out",
    ],
)  # fmt: skip
@pytest.mark.parametrize("head", ["", "model.layers.3.self_attn.", "model.layers.13.self_attn."])
@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj"]},
        {"target_modules": ["self_attn.q_proj"]},
        {"target_modules": ["model.layers.3.self_attn.q_proj"]},
        {"target_modules": ["q_proj"], "layers_to_transform": [3]},
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj"], "exclude_modules": ["self_attn.q_proj"]},
        {"target_modules": r"model\.layers\.3\.self_attn\.q_proj"},
    ],
)
def test_a_name_that_holds_the_name_of_a_target_is_no_target(
    options: dict[str, Any], head: str, name: str
) -> None:
    config, full = read_config(svf(**options)), f"{head}{name}"
    targets, layers = options["target_modules"], options.get("layers_to_transform")
    parts = [targets.replace("\\", "")] if isinstance(targets, str) else targets
    wanted = any(full.split(".")[-len(part.split(".")) :] == part.split(".") for part in parts)
    if layers and full not in parts:  # which PEFT takes whatever layers are meant
        wanted = wanted and full.split(".")[2:3] == [str(layers[0])]
    if "exclude_modules" in options:
        wanted = wanted and full.split(".")[-2:] != ["self_attn", "q_proj"]
    assert is_target(config, full) is wanted


@pytest.mark.parametrize("last", ["my_qkv_proj", "qkv_proj_2", "qkv", "gate_up_proj_extra"])
def test_a_layer_whose_name_holds_that_of_a_fused_one_is_not_fused(last: str) -> None:
    assert slice_names(LAYER + last, PACKED) == [LAYER + last]


@pytest.mark.parametrize(
    ("name", "scales_output"), [("mlp.down_proj", False), ("down_proj", False), ("k_proj", True)]
)
def test_ia3_scales_what_enters_the_modules_that_are_named(name: str, scales_output: bool) -> None:
    config = IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    made = make_slice(config, name, torch.zeros(4, 6))
    assert len(made.tensors["ia3_l"].flatten()) == (4 if scales_output else 6)


def test_a_module_that_ia3_takes_for_another_by_the_end_of_its_name_is_refused() -> None:
    targets = ["down_proj", "pre_down_proj"]
    config = IA3Config(target_modules=targets, feedforward_modules=["down_proj"])
    with pytest.raises(EngineError, match=r"PEFT takes 'mlp\.pre_down_proj' for 'down_proj'"):
        make_slice(config, "mlp.pre_down_proj", torch.zeros(4, 6))


def test_the_dense_form_is_refused_where_there_is_no_matrix() -> None:
    config = read_config(asdict(HypLoraConfig(target_modules=["q_proj"])))
    assert choose_form(config, "auto", "float32") == "factored"
    with pytest.raises(EngineError, match="must be 'factored' for HYPLORA"):
        choose_form(config, "dense", "float32")


@pytest.mark.parametrize("form", ["spectral", "dense"])
def test_a_quantised_base_keeps_its_weight_and_so_the_factored_form(form: str) -> None:
    config = read_config(svf(target_modules=["q_proj"]))
    assert choose_form(config, "auto", "float32", is_quantised=True) == "factored"
    with pytest.raises(EngineError, match="'factored' on a quantised base, got"):
        choose_form(config, form, "float32", is_quantised=True)


def test_the_spectral_form_is_for_svf_in_float32() -> None:
    config = read_config(svf(target_modules=["q_proj"]))
    assert choose_form(config, "auto", "float32") == "spectral"
    assert choose_form(config, "auto", "bfloat16") == "factored"
    with pytest.raises(EngineError, match="'spectral' is for SVF in float32, got SVF in bfloat16"):
        choose_form(config, "spectral", "bfloat16")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "VERA", "target_modules": ["q_proj"]}, "got 'VERA'"),
        (svf(), "must name its target_modules"),
        (svf(target_modules=["q_proj"], modules_to_save=["lm_head"]), "modules_to_save"),
        (asdict(LoraConfig(target_modules=["q_proj"], init_lora_weights="pissa")), "pissa"),
        (asdict(LoraConfig(target_modules=["q_proj"], bias="all")), "bias='all'"),
        (asdict(LoraConfig(target_modules=["q_proj"], lora_bias=True)), "lora_bias"),
    ],
)
def test_what_vllm_cannot_run_is_refused_before_it_starts(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        read_config(config)
