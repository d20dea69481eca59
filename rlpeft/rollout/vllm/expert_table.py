"""The experts of a vLLM worker, and their way into the slots that vLLM assigns them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from rlpeft.adapter_state import PEFT_PREFIX, tensor_name, tensors_digest
from rlpeft.adapters.methods import labels, method_of
from rlpeft.errors import EngineError
from rlpeft.rollout.growth import check_growth
from rlpeft.rollout.vllm.adapted_linear import AdaptedLinear
from rlpeft.rollout.vllm.guests import Guests
from rlpeft.rollout.vllm.linear_methods import pack
from rlpeft.rollout.vllm.peft_config import (
    is_target,
    make_slice,
    read_config,
    readable,
    require_ranks,
    slice_of,
)
from rlpeft.rollout.vllm.shard import Shard
from rlpeft.rollout.vllm.slice_adapters import ServesExperts, SliceAdapter
from rlpeft.rollout.vllm.slots import follow_slots
from rlpeft.rollout.vllm.values import (
    adapters,
    check_values,
    find_factors,
    parse,
    probed_growths,
)


@dataclass(frozen=True)
class Held:
    """One expert.

    Attributes:
        rows: tensor name -> what its slice takes into a row of its table.
        guests: module -> its own adapter.
    """

    rows: Mapping[str, torch.Tensor] = field(default_factory=dict)
    guests: Mapping[str, SliceAdapter] = field(default_factory=dict)


class ExpertTable:
    """The experts that requests may name.

    Those of the engine's own method are rows in the tables of its slices; others are guests.

    Raises:
        EngineError: a layer's adapter cannot serve experts, or the engine has no slots.
    """

    def __init__(self, layers: Sequence[AdaptedLinear], worker: Any) -> None:
        self.layers, self._worker = layers, worker
        self.slices: dict[str, ServesExperts] = {}
        self.places: dict[str, torch.Tensor] = {}
        for name, adapter in adapters(layers):
            if not isinstance(adapter, ServesExperts):
                able = labels(lambda method: method.runs_rows)
                raise EngineError(
                    f"experts by request must be {able}, the engine's adapter is not."
                )
            ((suffix, place),) = adapter.tensors.items()
            self.slices[tensor_name(name, suffix)] = adapter
            self.places[tensor_name(name, suffix)] = place
        self.held: dict[int, Held] = {}
        tokens = follow_slots(worker, self._enter, layers[0].tokens if layers else None)
        self.guests: dict[str, Guests] = {}
        for layer in layers:
            self.guests |= zip(layer.names, layer.take_guests(tokens), strict=True)

    def load(self, payload: bytes, ids: Sequence[int], factors: Mapping[str, str]) -> list[str]:
        """Hold these experts, of the engine's own method, and no others; the digest of each as it
        is held."""
        values = parse(payload)
        places = {n: place.expand(len(ids), *place.shape) for n, place in self.places.items()}
        check_values(values, places)
        for adapter, taken in find_factors(self.layers, factors):
            adapter.take_factors(taken)
        self._check_growth(values)
        for layer in self.layers:
            layer.refresh()
        rows = {i: {n: v[row] for n, v in values.items()} for row, i in enumerate(ids)}
        self.held = {i: Held(rows=tensors) for i, tensors in rows.items()}
        return [tensors_digest(tensors) for tensors in rows.values()]

    def add(self, lora_id: int, config: Mapping[str, Any], payload: bytes) -> str:
        """Hold one expert more, of any method; its digest as it is held.

        Args:
            config: its PEFT config. Of the engine's own method it has the engine's factors.
        """
        values, method = parse(payload), method_of(config)
        guests = {} if method and method.runs_rows else self._guests(config, values)
        places = self.places
        if guests:
            places = {tensor_name(m, s): t for m, g in guests.items() for s, t in g.tensors.items()}
        check_values(values, places)
        if not guests:
            self._check_growth(values)
            self.held[lora_id] = Held(rows=values)
            return tensors_digest(values)
        for name, value in values.items():
            places[name].copy_(value)
        for guest in guests.values():
            guest.refresh()
        check_growth(probed_growths(guests, self._weights(), self._shards()))
        self.held[lora_id] = Held(guests=guests)
        return tensors_digest(places)

    def drop(self, lora_id: int) -> None:
        """Forget an expert that no request, waiting or running, names any more."""
        for module, guest in self.held.pop(lora_id).guests.items():
            self.guests[module].leave(guest)
        self._worker.remove_lora(lora_id)

    def _check_growth(self, values: Mapping[str, torch.Tensor]) -> None:
        """Of experts of the engine's own method: [R] a tensor, or [K, R] of several."""
        check_growth({name: self.slices[name].growth(value) for name, value in values.items()})

    def _guests(
        self, config: Mapping[str, Any], values: Mapping[str, torch.Tensor]
    ) -> dict[str, SliceAdapter]:
        """An adapter for every module that a config, or a tensor, is of.

        Raises:
            EngineError: the config cannot run here, or has values that PEFT cannot read.
        """
        own = read_config(config)
        require_ranks(own, values)
        if any(layer.is_quantised for layer in self.layers):  # its size could not be measured
            raise EngineError(
                "experts that share a batch on a quantised base must be of the engine's own "
                f"method, got {own.peft_type.value}. Take experts of one method."
            )
        if not slice_of(config).is_guest:
            able = labels(lambda method: method.is_served)
            raise EngineError(
                f"experts that share a batch must be {able}, got {own.peft_type.value}."
            )
        spans = self._weights()
        moved = {module for name in values if (module := _module(name, spans))}
        shards = self._shards()
        with readable():
            return {
                name: make_slice(own, name, weight_MN, pack=pack, shard=shards[name])
                for name, weight_MN in spans.items()
                if name in moved or is_target(own, name)
            }

    def _weights(self) -> dict[str, torch.Tensor]:
        """The frozen weight [M, N] of every module."""
        return {
            name: layer.weight[span]
            for layer in self.layers
            for name, span in zip(layer.names, layer.spans, strict=True)
        }

    def _shards(self) -> dict[str, Shard]:
        """Which part of every module's weight that is."""
        return {
            name: shard
            for layer in self.layers
            for name, shard in zip(layer.names, layer.shards, strict=True)
        }

    def _enter(self, lora_id: int, slot: int) -> None:
        if lora_id not in self.held:  # else the slot would keep what was there before
            raise EngineError(
                f"LoRA id {lora_id} must be of an expert that is held, ids held: "
                f"{', '.join(map(str, self.held)) or 'none'}."
            )
        held = self.held[lora_id]
        for name, each in self.slices.items():
            each.set_expert(slot, held.rows.get(name))
        for module, guests in self.guests.items():
            guests.put(slot, held.guests.get(module))


def _module(tensor: str, modules: Mapping[str, Any]) -> str:
    """The module that a tensor of an adapter of any method is of; empty if it is of none."""
    name = tensor.removeprefix(PEFT_PREFIX)
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name
