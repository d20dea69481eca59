"""What an adapter method is to the rest of the house: one record.

Whoever needs to know something of a method asks its record (`rlpeft.adapters.methods`), and nobody
asks which method it is. What stands on a higher floor, a slice of vLLM's layers, is named by its
import path, `module:name`, and imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig
from torch import nn

from rlpeft.adapter_state import AdapterState
from rlpeft.models.base import BaseModel

MakeConfig = Callable[[Any, nn.Module, Mapping[str, Any]], PeftConfig]
"""(section of a recipe, base model, where it acts) -> PEFT config. Where: `target_modules`,
`layers_to_transform` if the section has layers, `task_type`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """How a method runs inside vLLM's fused layers (`rlpeft.rollout.vllm`).

    Attributes:
        make: import path of (config, name, weight, *, pack, form, shard) -> `SliceAdapter`;
            `shard` says which part of the layer this worker holds.
        forms: beside `factored`, which every method has: `dense` where its update is one matrix,
            `spectral` where it can run around the weight in singular coordinates.
        compiled: forms that are known to follow their values where vLLM compiles the layers.
        unsupported: options of the PEFT config that cannot run there.
        is_guest: whether it changes what comes out of a product alone, neither what goes in nor the
            bias: then some tokens may run it in a layer that others share.
    """

    make: str
    forms: frozenset[str] = frozenset()
    compiled: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    is_guest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a method changes, as numbers that are zero where the base model is left as it is.

    Attributes:
        read: (adapter, name of its base model) -> module -> change, fp32.
        words: what the numbers are.
        of: what their root mean square is taken of, and what that says of a module.
        is_spectrum: whether they are one for each singular value, in descending order.
    """

    read: Callable[[AdapterState, str], Mapping[str, torch.Tensor]]
    words: str
    of: str = "the update of a module"
    is_spectrum: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """How experts of a method, one vector v a module each, are mixed: v' = Σ_k a_k v_k.

    Attributes:
        options: under which v itself is what an adapter holds. A mixture has them, and so has the
            engine that runs it.
        same: options in which experts must agree.
        base: every number of the base model's v.
        vector: (config, tensor, module, factors of the module or "") -> v [R], fp32.
        of_layer: v of a layer whose adapter is active.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    same: tuple[str, ...] = ()
    base: float
    vector: Callable[[Mapping[str, Any], torch.Tensor, str, str], torch.Tensor]
    of_layer: Callable[[Any], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Auxiliary:
    """What a method adds to training, each of its PEFT tuner after a forward.

    Attributes:
        loss: (tuner, token mask [B, T] or `None`) -> what it adds to the loss, a scalar.
        metrics: scalars to log.
        check: raises `ModelError` where it can tell in which module NaN or inf began.
    """

    loss: Callable[[Any, torch.Tensor | None], torch.Tensor]
    metrics: Callable[[Any], dict[str, float]]
    check: Callable[[Any], None]


def nothing_hidden(layer: nn.Module) -> None:
    """All that a layer keeps frozen are parameters."""


def nothing_held(layer: nn.Module) -> int:
    """Of a method that keeps nothing beside its parameters and buffers."""
    return 0


def no_factors(policy: nn.Module) -> dict[str, str]:
    """Of a method that needs nothing of the base but its weights."""
    return {}


def no_base_factors(
    base: BaseModel, modules: Sequence[str], dtype: str, config: Mapping[str, Any]
) -> dict[str, str]:
    """Of a method that needs nothing of the base but its weights."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One adapter method; what is left out, it cannot do.

    Attributes:
        name: `adapter.type` in a recipe.
        label: as texts call it.
        peft_type: as its PEFT configs say it.
        is_ours: whether PEFT knows it only after `import rlpeft.adapters`.
        config: what a recipe's section means to PEFT.
        advice: a sentence, with a blank before it, for targets that match nothing.
        marks: options of its PEFT configs that tell it from others of the same `peft_type`.
        defaults: how PEFT reads a config without them, where cards say them.
        former: options of its section that runs and cards from before do not name, as they were.
        trained_by: options of its section that decide how it is trained, not what its tensors mean.
        tensor: suffix of the one vector a module that it trains; empty if it is not one vector.
        factors: module -> digest of what engines must have of the trainer's, of a policy.
        base_factors: the same of modules of a base model in a dtype, for an adapter with a PEFT
            config, without loading the model.
        make_shardable: has a layer keep as parameters, which FSDP2 shards, all that is frozen.
        held_bytes: what a layer keeps in fp32 beside parameters and buffers.
        change: how it is read from its file; `None` where it depends on the token.
        zero: suffix of the tensors that are zero where such a method leaves the base as it is.
        auxiliary: what it adds to the loss.
        mixing: how experts are mixed.
        is_mergeable: whether its update is a matrix.
        becomes_lora: whether a layer's `get_delta_weight` is its whole update, of which a LoRA of
            lower rank is made. DoRA's leaves out the magnitudes.
        nears_lora: whether a LoRA is near it on given tokens (`rlpeft.adapters.lowrank.export`).
        is_transferable: whether its vectors, one number for each singular value of a weight, mean
            the same module by module on another base.
        runs_rows: whether each row of a batch may run an expert of its own; then its layers are
            `rlpeft.adapters.rows.RowLayer`, and its slice is a `ServesExperts`.
        slice: how it runs in vLLM.
    """

    name: str
    label: str
    peft_type: str
    is_ours: bool
    config: MakeConfig
    advice: str = ""
    marks: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    former: Mapping[str, Any] = field(default_factory=dict)
    trained_by: frozenset[str] = frozenset()
    tensor: str = ""
    factors: Callable[[nn.Module], dict[str, str]] = no_factors
    base_factors: Callable[[BaseModel, Sequence[str], str, Mapping[str, Any]], dict[str, str]] = (
        no_base_factors
    )
    make_shardable: Callable[[nn.Module], None] = nothing_hidden
    held_bytes: Callable[[Any], int] = nothing_held
    change: Change | None = None
    zero: str = ""
    auxiliary: Auxiliary | None = None
    mixing: Mixing | None = None
    is_mergeable: bool = False
    becomes_lora: bool = False
    nears_lora: bool = False
    is_transferable: bool = False
    runs_rows: bool = False
    slice: Slice | None = None

    @property
    def is_served(self) -> bool:
        """Whether experts of it, by request, share a batch with those of other methods in vLLM."""
        return self.runs_rows or (self.slice is not None and self.slice.is_guest)
