"""SVF: its record, and what experts of it are to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from rlpeft.adapter_state import PEFT_PREFIX, AdapterState, by_module
from rlpeft.adapters.method import Change, Method, Mixing, Slice
from rlpeft.adapters.svf.config import FORMER, SvfConfig
from rlpeft.adapters.svf.factors import factorise, load_factors, shared_factors
from rlpeft.adapters.svf.functional import multiplier
from rlpeft.adapters.svf.layer import SvfLinear
from rlpeft.errors import ExpertError, ModelError
from rlpeft.models.base import BaseModel
from rlpeft.models.folder import resolve_model
from rlpeft.recipe.adapter import Decomposition, SvfAdapter

VECTOR = "svf_z"


def svf_config(adapter: SvfAdapter, base: nn.Module, where: Mapping[str, Any]) -> SvfConfig:
    """Our PEFT config."""
    return SvfConfig(
        parametrisation=adapter.parametrisation, decomposition=adapter.decomposition, **where
    )


def factor_digests(policy: nn.Module) -> dict[str, str]:
    """Module name (as in the base model) -> digest of the factors its layer uses."""
    return {
        name.removeprefix(PEFT_PREFIX): module.digest
        for name, module in policy.named_modules()
        if isinstance(module, SvfLinear)
    }


def held_bytes(layer: nn.Module) -> int:
    """W', which a layer in dense form keeps beside W; in half precision none does by itself."""
    if not isinstance(layer, SvfLinear) or not layer.takes_dense(layer.base_layer.weight):
        return 0
    weight: torch.Tensor = layer.base_layer.weight
    return weight.element_size() * weight.numel()


def make_shardable(layer: nn.Module) -> None:
    """Its basis too."""
    if isinstance(layer, SvfLinear):
        layer.make_shardable()


def change(state: AdapterState, base: str) -> dict[str, torch.Tensor]:
    """Module -> z - 1 [R].

    Raises:
        ModelError: `sigmoid_renorm` needs the base model's singular values, and it is not here.
    """
    trained = by_module(state.tensors, VECTOR)
    parametrisation = state.config["parametrisation"]
    if parametrisation == "direct":
        return {module: z_R.float() - 1 for module, z_R in trained.items()}
    singular_values = base_singular_values(
        resolve_model(base), list(trained), decomposition_of(state.config)
    )
    return {
        module: multiplier(logits_R, singular_values[module], parametrisation) - 1
        for module, logits_R in trained.items()
    }


def decomposition_of(config: Mapping[str, Any]) -> Decomposition:
    """That of the factors of an adapter, by its PEFT config."""
    found: Decomposition = {**FORMER, **config}["decomposition"]
    return found


def base_factors(
    base: BaseModel, modules: Sequence[str], dtype: str, config: Mapping[str, Any]
) -> dict[str, str]:
    """See `rlpeft.adapters.svf.factors.shared_factors`."""
    return shared_factors(base, modules, dtype, decomposition_of(config))


def base_singular_values(
    base: Path, modules: Sequence[str], decomposition: Decomposition
) -> dict[str, torch.Tensor]:
    """Singular values [R] of the named linear modules, without loading the model.

    Raises:
        ModelError: the base model has no weight of that name.
    """
    found: dict[str, torch.Tensor] = {}
    for file in sorted(base.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for module in set(modules) & {n.removesuffix(".weight") for n in weights.keys()}:  # noqa: SIM118
                factors = factorise(weights.get_tensor(f"{module}.weight"), decomposition)
                found[module] = factors.singular_values
    missing = sorted(set(modules) - found.keys())
    if missing:
        raise ModelError(f"base model {str(base)!r} must have a weight of {missing[0]!r}.")
    return found


def mixed_vector(
    config: Mapping[str, Any], tensor_R: torch.Tensor, module: str, digest: str
) -> torch.Tensor:
    """z [R] of an expert. Multipliers are mixed, never the logits of `sigmoid_renorm`: Σ a_k σ(p_k)
    is what the experts were trained as (Transformer², §3.2 mixes z).

    Raises:
        ExpertError: `sigmoid_renorm`, whose z depends on the singular values, without factors.
    """
    parametrisation = config["parametrisation"]
    if parametrisation == "direct":
        return tensor_R.float()
    found = load_factors(digest)
    if found is None:
        raise ExpertError(
            f"mixing {parametrisation!r} experts needs the cached factors of "
            f"{module!r}. Load the base model with this adapter once, and pass factors."
        )
    return multiplier(tensor_R, found.singular_values, parametrisation)


def layer_multiplier(layer: SvfLinear) -> torch.Tensor:
    """z [R] of a layer whose adapter is active, on the CPU."""
    z_R = layer.multiplier()
    assert z_R is not None
    return z_R.detach().cpu().clone()


SVF = Method(
    name="svf",
    label="SVF",
    peft_type="SVF",
    is_ours=True,
    config=svf_config,
    defaults={"parametrisation": "direct", **FORMER},
    former=FORMER,
    tensor=VECTOR,
    factors=factor_digests,
    base_factors=base_factors,
    make_shardable=make_shardable,
    held_bytes=held_bytes,
    change=Change(
        read=change,
        words="z - 1",
        of="z - 1: how far the singular values of a module are bent",
        is_spectrum=True,
    ),
    mixing=Mixing(
        options={"parametrisation": "direct"},
        same=("parametrisation", "decomposition"),
        base=1.0,
        vector=mixed_vector,
        of_layer=layer_multiplier,
    ),
    is_mergeable=True,
    becomes_lora=True,
    is_transferable=True,
    runs_rows=True,
    slice=Slice(
        make="rlpeft.rollout.vllm.svf_slice:svf_slice",
        forms=frozenset({"dense", "spectral"}),
        compiled=("factored", "spectral"),
    ),
)
