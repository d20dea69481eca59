"""Which expert each token of a step runs: vLLM's own LoRA routing, followed. Written against 0.32.

What is relied on: the LoRA manager's `activate_adapter`, `lora_index_to_id` and
`punica_wrapper_mapping`; the wrapper's `_token_lora_indices` (slot of each token of a step, -1 for
none, as many as `max_num_batched_tokens`) being written in place by its `update_metadata` alone;
its worker's manager reading a LoRA by `_load_adapter`; the platform's `check_and_update_config`
reading `lora_config` for nothing but whether to compile, on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from vllm.platforms import current_platform

from rlpeft.errors import EngineError
from rlpeft.rollout.vllm import METHOD
from rlpeft.rollout.vllm.guests import Tokens


def _compile_beside_slots() -> None:
    """Let vLLM compile our layers where requests name experts, on a CPU.

    Beside LoRA routing it does not, silently. Ours reads a table and has no branch.
    """
    platform: Any = type(current_platform)
    update = platform.check_and_update_config.__func__

    def check_and_update_config(cls: Any, vllm_config: Any) -> None:
        routing, model = vllm_config.lora_config, vllm_config.model_config
        if model is not None and model.quantization == METHOD:
            vllm_config.lora_config = None
        try:
            update(cls, vllm_config)
        finally:
            vllm_config.lora_config = routing

    platform.check_and_update_config = classmethod(check_and_update_config)


if current_platform.is_cpu():
    _compile_beside_slots()


def token_slots(length: int) -> Tokens:
    """Where layers read which slot each token of a step runs: -1, none, so far."""
    return Tokens(torch.full((length,), -1, device=current_platform.device_type))


def follow_slots(
    worker: Any, on_slot: Callable[[int, int], None], tokens: Tokens | None = None
) -> Tokens:
    """Take part in vLLM's own LoRA routing.

    Args:
        worker: a vLLM worker whose engine was started with `enable_lora`.
        on_slot: called with the id of a LoRA and its slot, each time one enters a slot.
        tokens: where this engine's layers read already; a place of their own if absent.

    Returns:
        Which slot each token of a step runs.

    Raises:
        EngineError: the engine was started without.
    """
    found = getattr(worker.model_runner, "lora_manager", None)
    if found is None:
        raise EngineError("the engine must be started with max_experts > 0 to take experts.")
    manager = found._adapter_manager
    (wrapper,) = manager.punica_wrapper_mapping.values()
    tokens = tokens or token_slots(len(wrapper._token_lora_indices))
    wrapper._token_lora_indices = tokens.slots_T
    activate, update = manager.activate_adapter, wrapper.update_metadata

    def activate_adapter(lora_id: int) -> bool:
        is_new = bool(activate(lora_id))
        if is_new:
            on_slot(lora_id, manager.lora_index_to_id.index(lora_id))
        return is_new

    def update_metadata(*args: Any, **options: Any) -> None:
        tokens.renew()
        update(*args, **options)

    manager.activate_adapter, wrapper.update_metadata = activate_adapter, update_metadata
    _read_loras_once(found)
    return tokens


def _read_loras_once(manager: Any) -> None:
    """Read each LoRA folder once: all our requests name the same empty LoRA, each by a new id."""
    load, read = manager._load_adapter, {}

    def load_adapter(request: Any) -> Any:
        if request.lora_path not in read:
            read[request.lora_path] = load(request)
        return read[request.lora_path].clone(request.lora_int_id)

    manager._load_adapter = load_adapter
