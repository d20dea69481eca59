"""Names and configs inside vLLM. No vLLM is needed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from peft import LoraConfig

from rlpeft.adapters import HypLoraConfig, SvfConfig
from rlpeft.errors import EngineError
from rlpeft.rollout.vllm.peft_config import choose_form, is_target, read_config, slice_names

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


def test_the_dense_form_is_refused_where_there_is_no_matrix() -> None:
    config = read_config(asdict(HypLoraConfig(target_modules=["q_proj"])))
    assert choose_form(config, "auto", "float32") == "factored"
    with pytest.raises(EngineError, match="must be 'factored' for HYPLORA"):
        choose_form(config, "dense", "float32")


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
