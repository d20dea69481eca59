"""What the engine calls in each vLLM worker: take new adapter values, say what is really there."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from rlpeft.errors import RlpeftError
from rlpeft.rollout.vllm.expert_table import ExpertTable
from rlpeft.rollout.vllm.internals import adapted_layers, frozen, kv_cache
from rlpeft.rollout.vllm.kv_cache import give_back
from rlpeft.rollout.vllm.values import load_values
from rlpeft.rollout.vllm.watch import exit_with


class AdapterWorker:
    """Mixed into vLLM's worker class (`worker_extension_cls`).

    Answers are JSON text, and an error of ours is an answer: `collective_rpc` would wrap it into
    a traceback.
    """

    get_model: Any  # vLLM's worker has it
    _experts: ExpertTable | None = None

    def rlpeft_load(self, payload: bytes, factors: str) -> str:
        """Write adapter values into the layers.

        Args:
            payload: the tensors under PEFT's names, as safetensors.
            factors: JSON, module name -> digest of the factors to use; may leave out what has
                not changed since the last call.

        Returns:
            JSON with `digest`, taken from what the layers hold afterwards, or `error`.
        """
        try:
            layers = adapted_layers(self.get_model())
            return json.dumps({"digest": load_values(layers, payload, json.loads(factors))})
        except RlpeftError as error:
            return json.dumps({"error": str(error)})

    def rlpeft_experts(self, payload: bytes, ids: str, factors: str) -> str:
        """Keep the experts that requests may name from now on.

        Args:
            payload: tensors under PEFT's names, one row an expert, as safetensors.
            ids: JSON list, the LoRA id of each row.
            factors: as for `rlpeft_load`.

        Returns:
            JSON with `digests`, one a row, or `error`.
        """
        try:
            digests = self._table().load(payload, json.loads(ids), json.loads(factors))
            return json.dumps({"digests": digests})
        except RlpeftError as error:
            return json.dumps({"error": str(error)})

    def rlpeft_add_expert(self, lora_id: int, config: str, payload: bytes) -> str:
        """Keep one expert more, of any method.

        Args:
            lora_id: by which requests name it; never used before.
            config: JSON, its PEFT config.
            payload: its tensors under PEFT's names, as safetensors.

        Returns:
            JSON with `digest`, or `error`: then nothing has changed.
        """
        try:
            digest = self._table().add(lora_id, json.loads(config), payload)
            return json.dumps({"digest": digest})
        except RlpeftError as error:
            return json.dumps({"error": str(error)})

    def rlpeft_drop_expert(self, lora_id: int) -> str:
        """Forget an expert that no request, waiting or running, names any more; JSON `{}`."""
        self._table().drop(lora_id)
        return json.dumps({})

    def _table(self) -> ExpertTable:
        if self._experts is None:
            self._experts = ExpertTable(adapted_layers(self.get_model()), self)
        return self._experts

    def rlpeft_rest(self) -> str:
        """Give the memory of the KV cache back, on a CPU; JSON `{}`, or `error`."""
        try:
            give_back(kv_cache(self))
            return json.dumps({})
        except OSError as error:
            return json.dumps({"error": f"the KV cache must be given back, got {error}."})

    def rlpeft_watch(self, pid: int) -> None:
        """End this worker when the process that owns the engine is gone."""
        exit_with(pid)

    def rlpeft_base_digest(self) -> str:
        """SHA-256 (hex) of the frozen weights under the adapter."""
        digest = hashlib.sha256()
        for tensor in frozen(self.get_model()):
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
