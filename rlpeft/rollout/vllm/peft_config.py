"""Which modules a PEFT config adapts inside vLLM, and how each is built there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import check_target_module_exists

from rlpeft.adapters.method import Slice
from rlpeft.adapters.methods import method_of, peft_type_of, peft_types
from rlpeft.errors import EngineError, RlpeftError
from rlpeft.rollout.vllm.matmul import Pack, plain
from rlpeft.rollout.vllm.shard import Shard
from rlpeft.rollout.vllm.slice_adapters import Form, SliceAdapter

# Inits that take their start out of the base weight; the base here keeps it.
PLAIN_LORA_INITS = (True, False, "gaussian", "orthogonal")
# Options of any method that add weights, or change the base, outside the target layers.
UNSUPPORTED = (
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "fan_in_fan_out",
)


def read_config(config: Mapping[str, Any]) -> PeftConfig:
    """The PEFT config of a plain dict.

    Raises:
        EngineError: the method, or an option of it, cannot run in vLLM.
    """
    how, peft_type = slice_of(config), peft_type_of(config)
    used = [name for name in (*UNSUPPORTED, *how.unsupported) if config.get(name)]
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
    with readable():
        return PeftConfig.from_peft_type(**{**config, "peft_type": peft_type})


@contextmanager
def readable() -> Iterator[None]:
    """Around what reads a config that may be a stranger's: whatever its values do is told.

    Raises:
        EngineError: they are none that PEFT, or our slices, can use.
    """
    try:
        yield
    except RlpeftError:
        raise
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, re.error) as error:
        raise EngineError(
            f"an adapter's config must hold values that PEFT can use, {type(error).__name__}: "
            f"{str(error)[:200]}. Mend its adapter_config.json."
        ) from error


def require_ranks(config: PeftConfig, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse ranks that no tensor has: what is built for them would fill the memory.

    Raises:
        EngineError: names one.
    """
    with readable():
        ranks = {"r": getattr(config, "r", 1), **(getattr(config, "rank_pattern", None) or {})}
    most = max((size for tensor in tensors.values() for size in tensor.shape), default=0)
    for name, rank in ranks.items():
        if type(rank) is not int or not 1 <= rank <= most:
            raise EngineError(
                f"the rank {name!r} of an adapter's config must be a whole number from 1 to {most},"
                f" the longest side of its tensors, got {rank!r:.80}. Mend its adapter_config.json."
            )


def slice_of(config: Mapping[str, Any]) -> Slice:
    """How the method of a PEFT config runs in vLLM.

    Raises:
        EngineError: it does not.
    """
    method = method_of(config)
    if method is None or method.slice is None:
        raise EngineError(
            f"the vllm engine runs adapters of type {peft_types(lambda m: m.slice)}, got "
            f"{peft_type_of(config)!r}. Use rollout.engine = 'hf'."
        )
    return method.slice


def choose_form(
    config: PeftConfig, form: str, dtype: str, workers: int = 1, *, is_quantised: bool = False
) -> str:
    """The form to run: `auto` is the cheapest whose refresh is nearly free.

    Raises:
        EngineError: a form that the adapter, the dtype, the number of workers or a quantised base
            does not allow.
    """
    if workers > 1 or is_quantised:
        if form not in ("auto", "factored"):
            split = f"with rollout.tensor_parallel = {workers}"
            where = "on a quantised base" if is_quantised else split
            raise EngineError(
                f"form must be 'factored' {where}, got {form!r}: the others need whole weights of "
                "floats. Use 'auto'."
            )
        return "factored"
    forms, method = slice_of(vars(config)).forms, peft_type_of(vars(config))
    can_be_spectral = "spectral" in forms and dtype == "float32"
    if form == "auto":
        return "spectral" if can_be_spectral else "factored"
    if form == "spectral" and not can_be_spectral:
        able = peft_types(lambda m: m.slice and "spectral" in m.slice.forms)
        raise EngineError(
            f"form 'spectral' is for {able} in float32, got {method} in {dtype}: "
            "rounding the weight in other coordinates would make another base model. Use 'auto'."
        )
    if form == "dense" and form not in forms:
        raise EngineError(
            f"form must be 'factored' for {method}, got 'dense': its update "
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
    shard: Shard | None = None,
) -> SliceAdapter:
    """An adapter for one slice that changes nothing until its values arrive; its own are fp32.

    Args:
        weight_MN: of the slice, or the part of it that `shard` says.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # vLLM builds its layers under the model's
    try:
        make = resolve_name(slice_of(vars(config)).make)
        adapter: SliceAdapter = make(config, name, weight_MN, pack=pack, form=form, shard=shard)
        return adapter
    finally:
        torch.set_default_dtype(before)
