"""What vLLM is started with: arguments and environment; `options` says what a user may add."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vllm.platforms import current_platform
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from rlpeft.errors import EngineError
from rlpeft.files import read_json
from rlpeft.models.quantised import torchao_config
from rlpeft.rollout.vllm import METHOD
from rlpeft.types import Quantisation

WORKER = "rlpeft.rollout.vllm.worker.AdapterWorker"
CPU_KV_CACHE_BYTES = 1 << 30
"""KV cache on a CPU unless an option says otherwise; vLLM's default is nearly all memory."""
CPU_BATCH_TOKENS = 4096
"""Tokens of one step on a CPU, as vLLM's own default; more where one prompt may be longer, or each
of a batch's sequences would not get one."""

BINDING = "VLLM_CPU_OMP_THREADS_BIND"
"""The variable that says to which cores vLLM binds its worker's threads."""


READ_QUANTISED = ("compressed-tensors", "fp8", "awq", "gptq", "torchao")
"""Methods of quantised checkpoints that learner and vLLM read alike, as their `quant_method`."""


@dataclass(frozen=True)
class QuantisedBase:
    """How vLLM reads a quantised base.

    Attributes:
        method: vLLM's name of it.
        config: what vLLM's config of that method is made from.
    """

    method: str
    config: Mapping[str, Any]

    @property
    def is_stored(self) -> bool:
        """Whether its files are quantised, by kernels that products are formed by."""
        return "quant_method" in self.config


def quantised_base(
    model_path: Path, quantisation: Quantisation | None = None
) -> QuantisedBase | None:
    """How vLLM reads a base model; `None` for one of floats.

    Args:
        quantisation: as in a recipe's `model.quantisation`.

    Raises:
        EngineError: a method of quantisation that learner and engine may read differently.
    """
    stored = read_json(model_path / "config.json", EngineError).get("quantization_config")
    if stored is None:
        if quantisation is None:
            return None
        from torchao.core.config import config_to_dict

        # Without a quant_method: vLLM would take the files for quantised already.
        own = config_to_dict(torchao_config())
        return QuantisedBase("torchao", {"quant_type": {"default": own}})
    if (method := stored.get("quant_method")) not in READ_QUANTISED:
        raise EngineError(
            f"the vllm engine reads bases quantised by {', '.join(READ_QUANTISED)}, "
            f"{str(model_path)!r} says {method!r}. Use rollout.engine = 'hf' or another base."
        )
    return QuantisedBase(method, stored)


def llm_arguments(context: int, batch_size: int | None = None) -> dict[str, Any]:
    """Arguments of `vllm.LLM` for every engine, with or without adapter.

    Args:
        context: longest sequence, in tokens.
        batch_size: sequences generated at once; vLLM's own choice if absent.
    """
    arguments: dict[str, Any] = {
        "max_model_len": context,
        "worker_extension_cls": WORKER,
        "generation_config": "vllm",
        "logprobs_mode": "processed_logprobs",
        "trust_remote_code": False,
        "disable_log_stats": True,
        "enforce_eager": True,
    }
    if current_platform.is_cpu():
        arguments["kv_cache_memory_bytes"] = CPU_KV_CACHE_BYTES
        # A seeded request whose prompt is split over two steps kills vLLM there: it would wind a
        # generator back by `set_offset`, which those of CPUs have not.
        arguments["enable_chunked_prefill"] = False
        arguments["max_num_batched_tokens"] = max(CPU_BATCH_TOKENS, context, batch_size or 0)
    if batch_size is not None:
        arguments["max_num_seqs"] = batch_size
    return arguments


def plugin_arguments(
    adapter_config: Mapping[str, Any] | None,
    *,
    form: str,
    takes_guests: bool = False,
    slots: int = 0,
    base: QuantisedBase | None = None,
) -> dict[str, Any]:
    """Arguments of `vllm.LLM` that put the adapter into its linear layers.

    Args:
        adapter_config: a PEFT config; `None` for no adapter but those of experts.
        takes_guests: whether experts of other methods may act in every linear layer.
        slots: experts that may share a batch.
        base: how vLLM reads the base, if it is quantised.
    """
    # The adapter travels inside the model's config. A PEFT config holds sets: make them lists.
    adapter = json.loads(json.dumps(adapter_config and dict(adapter_config), default=sorted))
    if adapter is not None:
        adapter.pop("factors", None)  # of states, which bring their own
    config = {"quant_method": METHOD, "adapter": adapter, "form": form}
    config |= {"takes_guests": takes_guests, "slots": slots, "base": base and asdict(base)}
    return {"quantization": METHOD, "hf_overrides": {"quantization_config": config}}


def expert_arguments(max_experts: int) -> dict[str, Any]:
    """Arguments of `vllm.LLM` for requests that name experts, `max_experts` of them in one batch.

    vLLM's own LoRA routing brings them to their slots and keeps their prefix caches apart. The
    LoRAs themselves are empty, and only the input embedding, which is cheapest, can hold one.
    """
    return {
        "enable_lora": True,
        "max_loras": max_experts,
        "max_lora_rank": 1,
        "lora_target_modules": ["embed_tokens"],
    }


def child_variables(num_threads: int | None, workers: int = 1) -> dict[str, str]:
    """Environment variables for vLLM's processes; what the user has set himself stays.

    For each of them vLLM has no other door.

    Args:
        num_threads: of each worker on a CPU, see `VllmEngine`.
        workers: of the engine. On a CPU several have one thread each unless it is said: vLLM's
            own choice wants a NUMA node for every one.
    """
    if num_threads is None and workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        num_threads = 1
    # One line a sync from the core would bury the run's own progress.
    variables = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1"}
    # A worker that gets less is killed on a busy machine, and what it shared is left behind.
    variables["VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS"] = "15"
    # A forked process has loaded our plugin already, and would not find its log.
    variables["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    threads = {} if num_threads is None else {"OMP_NUM_THREADS": str(num_threads)}
    if current_platform.is_cpu() and (threads or "OMP_NUM_THREADS" in os.environ):
        # Left alone, vLLM ignores the number and pins its worker to all cores but one: two
        # engines on one machine would share the same cores.
        variables[BINDING] = "nobind"
    return {name: os.environ.get(name, value) for name, value in variables.items()} | threads


def worker_arguments(variables: Mapping[str, str], workers: int = 1) -> dict[str, Any]:
    """Arguments of `vllm.LLM` that say in which processes its workers run.

    Args:
        variables: environment of its processes, see `child_variables`.
    """
    if workers > 1:  # on this machine, also below Ray, whose actor has the devices of them all
        return {"tensor_parallel_size": workers, "distributed_executor_backend": "mp"}
    if not current_platform.is_cpu() or variables.get(BINDING) != "nobind":
        return {}
    # As on a GPU: in the core. On a CPU vLLM gives the worker a process of its own only so that it
    # can bind its threads: another 10 s of start, and a message there and back a step. It knows
    # the executor as "uni" and would not take it by that name.
    return {"distributed_executor_backend": UniProcExecutor}


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the children started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
