"""What the engine calls in each vLLM worker: take new adapter values, say what is really there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from rlpeft.adapter_state import tensor_name, tensors_digest
from rlpeft.adapters.methods import labels
from rlpeft.adapters.svf.factors import Factors, load_factors
from rlpeft.errors import EngineError, RlpeftError
from rlpeft.rollout.vllm.adapted_linear import AdaptedLinear
from rlpeft.rollout.vllm.internals import adapted_layers, follow_slots
from rlpeft.rollout.vllm.slice_adapters import FactoredSlice, ServesExperts, SliceAdapter
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
            if self._experts is None:
                self._experts = ExpertTable(adapted_layers(self.get_model()), self)
            digests = self._experts.load(payload, json.loads(ids), json.loads(factors))
            return json.dumps({"digests": digests})
        except RlpeftError as error:
            return json.dumps({"error": str(error)})

    def rlpeft_watch(self, pid: int) -> None:
        """End this worker when the process that owns the engine is gone."""
        exit_with(pid)

    def rlpeft_base_digest(self) -> str:
        """SHA-256 (hex) of the frozen weights under the adapter."""
        digest = hashlib.sha256()
        for layer in adapted_layers(self.get_model()):
            digest.update(
                layer.weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
            )
        return digest.hexdigest()


class ExpertTable:
    """The experts of a worker, and their way into the slots that vLLM assigns them.

    Raises:
        EngineError: a layer's adapter cannot serve experts, or the engine has no slots.
    """

    def __init__(self, layers: Sequence[AdaptedLinear], worker: Any) -> None:
        self.layers = layers
        self.slices: dict[str, ServesExperts] = {}
        self.places: dict[str, torch.Tensor] = {}
        for name, adapter in _adapters(layers):
            if not isinstance(adapter, ServesExperts):
                able = labels(lambda method: method.runs_rows)
                raise EngineError(
                    f"experts by request must be {able}, the engine's adapter is not."
                )
            ((suffix, place),) = adapter.tensors.items()
            self.slices[tensor_name(name, suffix)] = adapter
            self.places[tensor_name(name, suffix)] = place
        self.held: dict[int, dict[str, torch.Tensor]] = {}
        slots, token_rows = follow_slots(worker, self._enter)
        for each in self.slices.values():
            each.take_experts(slots, token_rows)

    def load(self, payload: bytes, ids: Sequence[int], factors: Mapping[str, str]) -> list[str]:
        """Hold these experts and no others; the digest of each as it is held."""
        values = _parse(payload)
        _check_names(values, self.slices)
        for name, value in values.items():
            place = self.places[name]
            _check_value(name, value, place.expand(len(ids), *place.shape))
        _check_finite(values)
        for adapter, taken in _find_factors(self.layers, factors):
            adapter.take_factors(taken)
        for layer in self.layers:
            layer.refresh()
        self.held = {i: {n: v[row] for n, v in values.items()} for row, i in enumerate(ids)}
        return [tensors_digest(tensors) for tensors in self.held.values()]

    def _enter(self, lora_id: int, slot: int) -> None:
        if lora_id not in self.held:  # else the slot would keep the z of the one before
            raise EngineError(
                f"LoRA id {lora_id} must be of an expert that is held, ids held: "
                f"{', '.join(map(str, self.held)) or 'none'}."
            )
        for name, z_R in self.held[lora_id].items():
            self.slices[name].set_expert(slot, z_R)


def load_values(layers: Sequence[AdaptedLinear], payload: bytes, factors: Mapping[str, str]) -> str:
    """Write values in place, all or none, and give back the digest of what is held afterwards.

    Raises:
        EngineError: a tensor has no place, a place gets no tensor, a shape or dtype differs, a
            value is not finite, or factors are missing. Nothing has been written.
    """
    values, places = _parse(payload), tensor_places(layers)
    _check_names(values, places)
    for name, value in values.items():
        _check_value(name, value, places[name])
    _check_finite(values)
    found = _find_factors(layers, factors)
    for adapter, taken in found:
        adapter.take_factors(taken)
    for name, value in values.items():
        places[name].copy_(value)
    for layer in layers:
        layer.refresh()
    return tensors_digest(places)


def _parse(payload: bytes) -> dict[str, torch.Tensor]:
    try:
        return load(payload)
    except SafetensorError as error:
        raise EngineError(f"adapter payload must be safetensors, got {error}.") from error


def _adapters(layers: Sequence[AdaptedLinear]) -> Iterator[tuple[str, SliceAdapter]]:
    """Module name and adapter of every adapted slice."""
    for layer in layers:
        for name, adapter in zip(layer.names, layer.adapters, strict=True):
            if adapter is not None:
                yield name, adapter


def tensor_places(layers: Sequence[AdaptedLinear]) -> dict[str, torch.Tensor]:
    """The adapters' own tensors under PEFT's names."""
    return {
        tensor_name(name, suffix): tensor
        for name, adapter in _adapters(layers)
        for suffix, tensor in adapter.tensors.items()
    }


def _check_names(values: Mapping[str, Any], places: Mapping[str, Any]) -> None:
    homeless, unfilled = sorted(set(values) - set(places)), sorted(set(places) - set(values))
    if homeless:
        raise EngineError(
            f"every adapter tensor must have a place in vLLM's model, {len(homeless)} have none: "
            f"{', '.join(homeless[:3])}. vLLM may not implement this module as a linear layer: "
            "remove it from the targets or use rollout.engine = 'hf'."
        )
    if unfilled:
        raise EngineError(
            f"every adapted layer of the engine must get its values, {len(unfilled)} got none: "
            f"{', '.join(unfilled[:3])}. Build engine and policy from the same adapter config."
        )


def _check_value(name: str, value: torch.Tensor, place: torch.Tensor) -> None:
    if value.shape != place.shape or value.dtype != place.dtype:
        raise EngineError(
            f"adapter tensor {name!r} must be {place.dtype} of shape {tuple(place.shape)}, got "
            f"{value.dtype} of shape {tuple(value.shape)}. Is the engine's base another model?"
        )


def _check_finite(values: Mapping[str, torch.Tensor]) -> None:
    # One look at all of them: a look at each of 210 costs 2 ms a sync.
    flat = [value.flatten() for value in values.values()]
    if not flat or torch.isfinite(torch.cat(flat)).all():
        return
    for name, value in values.items():
        if not torch.isfinite(value).all():
            raise EngineError(f"adapter tensor {name!r} must be finite, got NaN or infinity.")


def _find_factors(
    layers: Sequence[AdaptedLinear], factors: Mapping[str, str]
) -> list[tuple[FactoredSlice, Factors]]:
    """The cached factors of every slice that needs them and does not hold the named ones yet."""
    found: list[tuple[FactoredSlice, Factors]] = []
    for name, adapter in _adapters(layers):
        if isinstance(adapter, FactoredSlice):
            digest = factors.get(name, adapter.digest)
            if digest is None:
                raise EngineError(
                    f"adapter state must name the factors of {name!r}, it does not. Send the "
                    "state of a policy (rlpeft.adapters.policy.adapter_state)."
                )
            if digest != adapter.digest:
                found.append((adapter, _cached(name, digest, adapter)))
    return found


def _cached(name: str, digest: str, adapter: FactoredSlice) -> Factors:
    factors = load_factors(digest)
    if factors is None:
        raise EngineError(
            f"factors of {name!r} (sha256 {digest}) must be in this machine's cache, they are "
            "not. The engine never computes its own: within a Ray cluster they come from a node "
            "that has them, else copy the trainer's cache of factors here."
        )
    if factors.basis.shape != adapter.basis_RR.shape:
        raise EngineError(
            f"factors of {name!r} must be {tuple(adapter.basis_RR.shape)}, the cached ones "
            f"(sha256 {digest}) are {tuple(factors.basis.shape)}: trainer and engine run "
            "different base models."
        )
    return factors
