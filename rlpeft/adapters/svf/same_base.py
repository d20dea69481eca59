"""An SVF adapter belongs to the factors it was trained on: on others its numbers mean nothing.

A vector of z fits any base with the same shapes. So the config that lies beside the file names the
digest of each module's factors, and PEFT's own loading comes by here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping

import torch

from rlpeft.adapters.linear import full_weight
from rlpeft.adapters.svf.config import SvfConfig
from rlpeft.adapters.svf.factors import weight_digest
from rlpeft.adapters.svf.layer import SvfLinear
from rlpeft.errors import ModelError

ROUNDED = (torch.bfloat16, torch.float16)
"""Types that a base in fp32 may have had in training, when its weights were rounded to them."""


def digests(layers: Mapping[str, SvfLinear]) -> dict[str, str]:
    """Module name -> digest of its factors."""
    return {name: layer.digest for name, layer in layers.items()}


def hold_to_base(config: SvfConfig, layers: Mapping[str, SvfLinear]) -> None:
    """Refuse an adapter from a file on other factors than its own; note those of a new one.

    Args:
        layers: those of the adapter, by their names in the base model.

    Raises:
        ModelError: names the first module with other factors.
    """
    if not config.from_file:
        config.factors = digests(layers)
        return
    known = config.factors or {}
    others = [n for n, layer in layers.items() if n in known and not _is_of(layer, known[n])]
    unknown = [name for name in others if not layers[name].is_plain]
    if unknown:
        warnings.warn(
            f"whether this SVF adapter belongs to the base model cannot be told: {unknown[0]!r} "
            "has quantised weights, other than those it was trained on.",
            stacklevel=2,
        )
    for name in others:
        if name not in unknown:
            raise ModelError(
                f"this SVF adapter was trained on another base model: the factors of {name!r} are "
                f"{known[name][:12]}…, here they are {layers[name].digest[:12]}…. Load the base "
                "that it was trained on, in the dtype that its files have or in float32; move the "
                "model to another dtype after that."
            )


def _is_of(layer: SvfLinear, digest: str) -> bool:
    return digest == layer.digest or digest in _roundings(layer)


def _roundings(layer: SvfLinear) -> Iterator[str]:
    """Digests of a weight in fp32 as a base in a smaller type would have held it."""
    if layer.is_plain and layer.base_layer.weight.dtype == torch.float32:
        weight_MN = full_weight(layer.base_layer)
        yield from (weight_digest(weight_MN.to(dtype), layer.decomposition) for dtype in ROUNDED)
