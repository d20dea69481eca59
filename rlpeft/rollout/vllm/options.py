"""Which arguments of vLLM a user may add, told before anything is started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

import torch
from peft import PeftConfig
from vllm import EngineArgs
from vllm.platforms import current_platform

from rlpeft.adapters.methods import methods
from rlpeft.errors import EngineError
from rlpeft.rollout.vllm.peft_config import slice_of
from rlpeft.rollout.vllm.start import QuantisedBase

FORMS = ("auto", "factored", "spectral", "dense")

OURS = frozenset(
    {
        "model",
        "tokenizer",
        "quantization",
        "hf_overrides",
        "worker_extension_cls",
        "generation_config",
        "logprobs_mode",
        "trust_remote_code",
        "skip_tokenizer_init",
        "disable_log_stats",
        "enable_lora",
        "max_loras",
        "max_lora_rank",
        "lora_target_modules",
        "tensor_parallel_size",
    }
)
"""Arguments of `vllm.LLM` that this engine sets itself."""


def check_options(options: Mapping[str, Any], form: str, batch_size: int | None = None) -> None:
    """Refuse options that vLLM has not, or that would break the engine.

    Raises:
        EngineError: names the option and says what to do instead.
    """
    if form not in FORMS:
        raise EngineError(f"form must be one of {FORMS}, got {form!r}.")
    taken = sorted(OURS & set(options))
    if taken:
        raise EngineError(
            f"rollout.options must not set {', '.join(taken)}: the vllm engine does. Remove them."
        )
    _check_known(options)
    for size in ("pipeline_parallel_size", "data_parallel_size"):
        if options.get(size, 1) != 1:
            raise EngineError(
                f"{size} must be 1, got {options[size]!r}: an adapter is split over workers by "
                "rollout.tensor_parallel alone. Set that, or rollout.num_engines."
            )
    if batch_size is not None and "max_num_seqs" in options:
        raise EngineError(
            "rollout.batch_size and rollout.options.max_num_seqs are one thing: set the first."
        )
    if current_platform.is_cpu() and options.get("enable_sleep_mode"):
        raise EngineError(
            "rollout.options.enable_sleep_mode is for GPUs: on a CPU the KV cache is given back "
            "while the learner works without it. Remove it."
        )
    if current_platform.is_cpu() and options.get("enable_chunked_prefill"):
        raise EngineError(
            "rollout.options.enable_chunked_prefill must be false on a CPU: there vLLM dies of a "
            "sampled request whose prompt is split over two steps. Remove it."
        )


def check_devices(workers: int, options: Mapping[str, Any]) -> None:
    """Refuse more workers than this process has devices for, and another way to start them.

    Raises:
        EngineError: says what there is.
    """
    if workers == 1:
        return
    if "distributed_executor_backend" in options:
        raise EngineError(
            "rollout.options.distributed_executor_backend must not be set with "
            f"rollout.tensor_parallel = {workers}: workers are processes of one machine, which "
            "vLLM starts and ends. Remove it."
        )
    if current_platform.is_cpu():
        kind, there = "cores", len(os.sched_getaffinity(0))
    else:
        kind, there = "GPUs", torch.cuda.device_count()
    if workers > there:
        raise EngineError(
            f"rollout.tensor_parallel must be at most the {kind} that an engine has, got {workers} "
            f"with {there}. Lower it, or reserve more (resources.engine_gpus, "
            "resources.engine_cpus)."
        )


def _check_known(options: Mapping[str, Any]) -> None:
    known = {field.name for field in fields(EngineArgs)}
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise EngineError(
                f"rollout.options must be arguments of vLLM or of the vllm engine, {name!r} is "
                "neither. " + (f"Did you mean {near[0]!r}?" if near else "Remove it.")
            )


def check_experts_form(max_experts: int, form: str) -> None:
    """Refuse experts by request where one matrix serves every token.

    Raises:
        EngineError: the form is dense, or the number is none.
    """
    if not isinstance(max_experts, int) or max_experts < 0:
        raise EngineError(f"max_experts must be a number of experts, got {max_experts!r}.")
    if max_experts and form == "dense":
        raise EngineError(
            "max_experts does not go with form = 'dense': one matrix a layer cannot differ "
            "by request."
        )


def check_quantised(
    config: PeftConfig, arguments: Mapping[str, Any], base: QuantisedBase, workers: int = 1
) -> None:
    """Refuse what is not proven on a quantised base, whose weights an adapter does not see.

    Args:
        arguments: of `vllm.LLM`.

    Raises:
        EngineError: compiled layers, several workers, an adapter that reads weights (DoRA), or a
            dtype that kernels of quantised files do not multiply in.
    """
    if base.is_stored and arguments["dtype"] == "float32":
        raise EngineError(
            f"rollout.dtype must be 'bfloat16' or 'float16' on a base of {base.method} files, whose"
            " kernels in vLLM know no other, got 'float32'. Set it, with a rollout.canary_bound "
            "for its rounding, such as 0.3."
        )
    if getattr(config, "use_dora", False):
        raise EngineError(
            "the vllm engine cannot run DoRA on a quantised base: its magnitudes stand over norms "
            "of weights that only vLLM's kernels read. Use rollout.engine = 'hf', or LoRA."
        )
    if not arguments["enforce_eager"]:
        raise EngineError(
            "rollout.options.enforce_eager must be true on a quantised base: nobody has proven "
            "that compiled layers of it follow an adapter. Remove the option."
        )
    if workers > 1:
        raise EngineError(
            f"rollout.tensor_parallel must be 1 on a quantised base, got {workers}: nobody has "
            "tried quantised layers that workers share. Set it to 1."
        )


def check_compiled(config: PeftConfig, form: str, max_experts: int, workers: int = 1) -> None:
    """Refuse to let vLLM compile, or capture, layers that are not known to follow their adapter.

    What is traced once and frozen would sample the base for ever.

    Raises:
        EngineError: the adapter's form is not proven, requests name experts elsewhere than
            on a CPU, or weights are split.
    """
    if workers > 1:
        raise EngineError(
            f"rollout.options.enforce_eager must be true with rollout.tensor_parallel = {workers}: "
            "nobody has proven that compiled layers follow an adapter whose sums go from worker "
            "to worker. Remove the option."
        )
    if form not in slice_of(vars(config)).compiled:
        proven = ", ".join(
            f"{method.peft_type} in form {one!r}"
            for method in methods()
            for one in (method.slice.compiled if method.slice else ())
        )
        raise EngineError(
            f"rollout.options.enforce_eager must be true for {config.peft_type.value} in form "
            f"{form!r}: compiled layers are proven to follow the adapter for {proven} alone. "
            "Remove the option."
        )
    if max_experts and not current_platform.is_cpu():
        raise EngineError(
            "rollout.options.enforce_eager must be true where requests name experts: only on a CPU "
            "it is proven that compiled layers follow their slots. Remove the option."
        )
