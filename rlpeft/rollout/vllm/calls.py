"""What is asked of vLLM's workers, and how their answers are read; `worker` is the other end.

The engine waits for `collective_rpc`, the server awaits it: both send what is made here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError
from rlpeft.rollout.vllm.experts import payload, stacked_payload


@dataclass(frozen=True, slots=True)
class Call:
    """A method of `worker.AdapterWorker`, and what it is given."""

    method: str
    args: tuple[bytes | str | int, ...] = ()


BASE_DIGEST = Call("rlpeft_base_digest")
"""Its answer is the digest itself."""

REST = Call("rlpeft_rest")
"""Its answer is empty; the prefix cache must have been dropped before."""


def load_call(state: AdapterState, factors: Mapping[str, str]) -> Call:
    """Make a state the policy; the answer has its `digest`.

    Args:
        factors: those of the state; may leave out what the workers were told before.
    """
    return Call("rlpeft_load", (payload(state), json.dumps(dict(factors))))


def experts_call(experts: Mapping[str, AdapterState], ids: Sequence[int]) -> Call:
    """Hold experts under these LoRA ids; the answer has their `digests`, in order."""
    factors = {name: f for state in experts.values() for name, f in state.factors.items()}
    return Call(
        "rlpeft_experts", (stacked_payload(experts), json.dumps(list(ids)), json.dumps(factors))
    )


def add_expert_call(lora_id: int, state: AdapterState) -> Call:
    """Hold one expert more, of any method, under this LoRA id; the answer has its `digest`."""
    config = json.dumps(dict(state.config), default=sorted)  # a PEFT config holds sets
    return Call("rlpeft_add_expert", (lora_id, config, payload(state)))


def drop_expert_call(lora_id: int) -> Call:
    """Forget an expert that no request, waiting or running, names any more."""
    return Call("rlpeft_drop_expert", (lora_id,))


def watch_call() -> Call:
    """Have the workers end when this process is gone."""
    return Call("rlpeft_watch", (os.getpid(),))


def answer(replies: Sequence[str]) -> dict[str, Any]:
    """The workers' answer, which is the same of all.

    Raises:
        EngineError: one refused, and then nothing has changed in it, or they differ.
    """
    each: list[dict[str, Any]] = [json.loads(reply) for reply in replies]
    for found in each:
        if "error" in found:
            raise EngineError(found["error"])
    for rank, found in enumerate(each):
        if found != each[0]:
            raise EngineError(
                f"all workers of an engine must hold the same adapter, worker {rank} answers "
                f"{json.dumps(found):.120} and worker 0 {json.dumps(each[0]):.120}. Start another "
                "engine."
            )
    return each[0]
