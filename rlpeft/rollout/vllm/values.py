"""Adapter values that arrive in a vLLM worker: checked, written in place, and their digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load

from rlpeft.adapter_state import tensor_name, tensors_digest
from rlpeft.adapters.svf.factors import Factors, load_factors
from rlpeft.errors import EngineError
from rlpeft.rollout.vllm.adapted_linear import AdaptedLinear
from rlpeft.rollout.vllm.shard import Shard
from rlpeft.rollout.vllm.slice_adapters import FactoredSlice, SliceAdapter

PROBES = 16
"""Random inputs by which the size of an adapter is told."""


def load_values(layers: Sequence[AdaptedLinear], payload: bytes, factors: Mapping[str, str]) -> str:
    """Write values in place, all or none, and give back the digest of what is held afterwards.

    Raises:
        EngineError: a tensor has no place, a place gets no tensor, a shape or dtype differs, a
            value is not finite, or factors are missing. Nothing has been written.
    """
    values, places = parse(payload), tensor_places(layers)
    check_values(values, places)
    found = find_factors(layers, factors)
    for adapter, taken in found:
        adapter.take_factors(taken)
    for name, value in values.items():
        places[name].copy_(value)
    for layer in layers:
        layer.refresh()
    return tensors_digest(places)


def parse(payload: bytes) -> dict[str, torch.Tensor]:
    try:
        return load(payload)
    except SafetensorError as error:
        raise EngineError(f"adapter payload must be safetensors, got {error}.") from error


def adapters(layers: Sequence[AdaptedLinear]) -> Iterator[tuple[str, SliceAdapter]]:
    """Module name and adapter of every adapted slice."""
    for layer in layers:
        for name, adapter in zip(layer.names, layer.adapters, strict=True):
            if adapter is not None:
                yield name, adapter


def tensor_places(layers: Sequence[AdaptedLinear]) -> dict[str, torch.Tensor]:
    """The adapters' own tensors under PEFT's names."""
    return {
        tensor_name(name, suffix): tensor
        for name, adapter in adapters(layers)
        for suffix, tensor in adapter.tensors.items()
    }


def check_values(values: Mapping[str, torch.Tensor], places: Mapping[str, torch.Tensor]) -> None:
    """Refuse values that are not one finite tensor, of its shape and dtype, for each place."""
    _check_names(values, places)
    for name, value in values.items():
        _check_value(name, value, places[name])
    _check_finite(values)


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


def probed_growths(
    guests: Mapping[str, SliceAdapter],
    weights: Mapping[str, torch.Tensor],
    shards: Mapping[str, Shard],
) -> dict[str, float]:
    """How much larger the outputs of adapters are than the largest of the weights they are around.

    Drawn anew for each call: vectors that are known beforehand could be spared. What one adapter
    does along a single direction shows on 16 of them but for a chance of 1e-9 for a tenth of it.

    Args:
        weights: [M, N] of every module in `guests`, or the part that this worker holds.
        shards: which part that is. All workers measure the whole, and find the same.
    """
    norms = {name: _norms(guest, weights[name], shards[name]) for name, guest in guests.items()}
    largest = max((base for base, _ in norms.values()), default=0.0) or 1.0
    return {name: bent / largest for name, (_, bent) in norms.items()}


def _norms(guest: SliceAdapter, weight_MN: torch.Tensor, shard: Shard) -> tuple[float, float]:
    """The largest norm of outputs without and with an adapter."""
    # Workers may draw the same: parts of x that were equal could cancel each other.
    x = torch.randn(PROBES, shard.shape[1])[:, shard.columns]
    x = x.to(weight_MN.device, weight_MN.dtype)
    y = F.linear(x, weight_MN)
    bent = guest.apply(x, lambda _: y)
    return _largest_norm(y, shard), _largest_norm(bent, shard)


def _largest_norm(y_PM: torch.Tensor, shard: Shard) -> float:
    """Of the whole slice's outputs, whose rows or addends y are; not finite from 2e19 on."""
    if shard.splits_columns:
        return float(shard.add(y_PM).double().norm(dim=1).max())
    norm2_P = y_PM.double().square().sum(dim=1).float()  # a dtype that every backend adds up
    return float((shard.add(norm2_P) / shard.copies).max().sqrt())


def find_factors(
    layers: Sequence[AdaptedLinear], factors: Mapping[str, str]
) -> list[tuple[FactoredSlice, Factors]]:
    """The cached factors of every slice that needs them and does not hold the named ones yet."""
    found: list[tuple[FactoredSlice, Factors]] = []
    for name, adapter in adapters(layers):
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
    if factors.basis.shape != (adapter.rank, adapter.rank):
        raise EngineError(
            f"factors of {name!r} must be {(adapter.rank, adapter.rank)}, the cached ones "
            f"(sha256 {digest}) are {tuple(factors.basis.shape)}: trainer and engine run "
            "different base models."
        )
    return factors
