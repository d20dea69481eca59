"""Which modules a PEFT config adapts inside vLLM, and how each is built there."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key

import rlpeft.adapters  # noqa: F401  makes our methods known to PEFT
from rlpeft.adapters.hyplora.layer import HypLoraLinear
from rlpeft.adapters.lowrank.layer import LowRankLayer
from rlpeft.adapters.moslora.layer import MoSLoraLinear
from rlpeft.errors import EngineError
from rlpeft.rollout.vllm.products import Pack, plain
from rlpeft.rollout.vllm.slices import (
    Form,
    GeometricSlice,
    LowRankSlice,
    ScaleSlice,
    SliceAdapter,
    SvfSlice,
)

METHODS = ("SVF", "LORA", "IA3", "HYPLORA", "MOSLORA")
# Inits that take their start out of the base weight; the base here keeps it.
PLAIN_LORA_INITS = (True, False, "gaussian", "orthogonal")
# Options that add weights, or change the base, outside the target layers.
UNSUPPORTED = (
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "lora_bias",
    "fan_in_fan_out",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "monteclora_config",
    "arrow_config",
    "kasa_config",
)


def read_config(config: Mapping[str, Any]) -> PeftConfig:
    """The PEFT config of a plain dict.

    Raises:
        EngineError: the method, or an option of it, cannot run in vLLM.
    """
    method = str(config.get("peft_type")).rpartition(".")[2].upper()
    if method not in METHODS:
        raise EngineError(
            f"the vllm engine runs adapters of type {', '.join(METHODS)}, got {method!r}. Use "
            "rollout.engine = 'hf'."
        )
    used = [name for name in UNSUPPORTED if config.get(name)]
    if config.get("init_lora_weights", True) not in PLAIN_LORA_INITS:
        used.append(f"init_lora_weights={config['init_lora_weights']!r}")
    if config.get("bias", "none") != "none":
        used.append(f"bias={config['bias']!r}")
    if used:
        raise EngineError(
            f"the vllm engine cannot run an adapter with {', '.join(used)}. Leave it out, or use "
            "rollout.engine = 'hf'."
        )
    if not config.get("target_modules"):
        raise EngineError(
            "adapter config must name its target_modules for the vllm engine, got "
            f"{config.get('target_modules')!r}. Send the config of the attached policy."
        )
    return PeftConfig.from_peft_type(**{**config, "peft_type": method})


def choose_form(config: PeftConfig, form: str, dtype: str) -> str:
    """The form to run: `auto` is the cheapest whose refresh is nearly free.

    Raises:
        EngineError: a form that the adapter or the dtype does not allow.
    """
    can_be_spectral = config.peft_type == "SVF" and dtype == "float32"
    if form == "auto":
        return "spectral" if can_be_spectral else "factored"
    if form == "spectral" and not can_be_spectral:
        raise EngineError(
            f"form 'spectral' is for SVF in float32, got {config.peft_type.value} in {dtype}: "
            "rounding the weight in other coordinates would make another base model. Use 'auto'."
        )
    if form == "dense" and config.peft_type in ("HYPLORA", "MOSLORA"):
        raise EngineError(
            f"form must be 'factored' for {config.peft_type.value}, got 'dense': its update "
            "depends on the token and is no matrix."
        )
    return form


def slice_names(prefix: str, packed: Mapping[str, Sequence[str]]) -> list[str]:
    """Module names of a vLLM layer before fusing, in slice order.

    >>> slice_names("model.layers.0.self_attn.qkv_proj", {"qkv_proj": ["q_proj", "k_proj"]})
    ['model.layers.0.self_attn.q_proj', 'model.layers.0.self_attn.k_proj']
    """
    head, dot, last = prefix.rpartition(".")
    return [f"{head}{dot}{part}" for part in packed.get(last, [last])]


def is_target(config: PeftConfig, name: str) -> bool:
    """Whether PEFT would adapt the module of this name."""
    if config.target_modules == "all-linear":
        return True  # vLLM's embeddings and output head are no linear layers
    return bool(check_target_module_exists(config, name))


def make_slice(
    config: PeftConfig,
    name: str,
    weight_MN: torch.Tensor,
    *,
    pack: Pack = plain,
    form: Form = "factored",
) -> SliceAdapter:
    """An adapter for one slice that changes nothing until its values arrive; its own are fp32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # vLLM builds its layers under the model's
    try:
        return _make_slice(config, name, weight_MN, pack=pack, form=form)
    finally:
        torch.set_default_dtype(before)


def _make_slice(
    config: PeftConfig, name: str, weight_MN: torch.Tensor, *, pack: Pack, form: Form
) -> SliceAdapter:
    if config.peft_type == "SVF":
        spectral = form == "spectral"
        return SvfSlice(
            weight_MN, parametrisation=config.parametrisation, pack=pack, is_spectral=spectral
        )
    if config.peft_type == "IA3":
        return ScaleSlice(weight_MN, output_side=not _is_feedforward(config, name))
    if config.peft_type in ("HYPLORA", "MOSLORA"):
        return GeometricSlice(_geometric_layer(config, name, weight_MN))
    rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern, name), config.r)
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern, name), config.lora_alpha)
    scaling = alpha / (math.sqrt(rank) if config.use_rslora else rank)
    return LowRankSlice(weight_MN, rank=rank, scaling=scaling, with_magnitude=bool(config.use_dora))


def _is_feedforward(config: PeftConfig, name: str) -> bool:
    modules = config.feedforward_modules or ()
    if isinstance(modules, str):
        return re.fullmatch(modules, name) is not None
    return any(name.endswith(module) for module in modules)  # as PEFT matches them


def _geometric_layer(config: PeftConfig, name: str, weight_MN: torch.Tensor) -> LowRankLayer:
    rows, columns = weight_MN.shape
    stand_in = torch.nn.Linear(columns, rows, bias=False, device="meta")
    # One number of memory, on the weight's device; float32, or the adapter would take the dtype.
    blank_MN = torch.zeros(1, device=weight_MN.device).expand(rows, columns)
    stand_in.weight = torch.nn.Parameter(blank_MN, requires_grad=False)
    layer = HypLoraLinear if config.peft_type == "HYPLORA" else MoSLoraLinear
    with torch.random.fork_rng(devices=[]):  # its random start is overwritten by the first sync
        return layer(stand_in, "default", config, name)
