"""Adapter values on their way into vLLM, and the LoRA requests that stand for experts there."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.numpy import save
from safetensors.torch import save_file
from vllm.lora.request import LoRARequest

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError


class EmptyLoras:
    """LoRA requests that change nothing themselves: their routing is what experts need of vLLM.

    Args:
        module: any that the experts act in, as PEFT names it; vLLM wants a LoRA to be on a module
            it knows. `start.expert_arguments` lets none act there.

    Attributes:
        folder: of the one LoRA that all of them name.
    """

    def __init__(self, module: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rlpeft-lora-")
        self._ids = itertools.count(1)
        self.folder = Path(self._folder.name)
        zeros = {f"{module}.lora_{side}.weight": torch.zeros(1, 1) for side in "AB"}
        save_file(zeros, self.folder / "adapter_model.safetensors")
        config = {
            "peft_type": "LORA",
            "r": 1,
            "lora_alpha": 1,
            "target_modules": [module.rpartition(".")[2]],
        }
        (self.folder / "adapter_config.json").write_text(json.dumps(config))

    def new_ids(self, number: int) -> list[int]:
        """Ids that no request has had."""
        return list(itertools.islice(self._ids, number))

    def request(self, name: str, number: int, digest: str) -> LoRARequest:
        """The request for an expert.

        Its name holds the digest: vLLM keeps cached prefixes apart by name, and another version
        of an expert must not be served from the prefixes of the last.
        """
        return LoRARequest(f"{name}@{digest[:16]}", number, str(self.folder))

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()


def payload(state: AdapterState) -> bytes:
    """The tensors as safetensors.

    Raises:
        EngineError: one is not float32.
    """
    wrong = [name for name, value in state.tensors.items() if value.dtype != torch.float32]
    if wrong:
        raise EngineError(
            f"adapter tensors must be float32 for the vllm engine, {wrong[0]!r} is "
            f"{state.tensors[wrong[0]].dtype}."
        )
    # Of 210 small tensors numpy's writer makes a payload in 1 ms, torch's in 5.
    return save({name: v.detach().contiguous().numpy() for name, v in state.tensors.items()})


def stacked_payload(experts: Mapping[str, AdapterState]) -> bytes:
    """The tensors of K experts as one payload, each [K, R].

    Raises:
        EngineError: they adapt different modules.
    """
    states = list(experts.values())
    (first_name, first), *_ = experts.items()
    for name, state in experts.items():
        shapes = {key: value.shape for key, value in state.tensors.items()}
        if shapes != {key: value.shape for key, value in first.tensors.items()}:
            raise EngineError(
                f"experts must adapt the same modules, {first_name!r} and {name!r} do not."
            )
    tensors = {key: torch.stack([state.tensors[key] for state in states]) for key in first.tensors}
    return payload(AdapterState(first.config, tensors, 0))
