"""Give an expert to another base model (Transformer², arXiv 2501.06252, §4.3, Table 9).

SVF's vectors are aligned by layer, module and place of the singular value, so they can be read on
any base with the same modules and ranks. Whether they mean anything there is an experiment; its
control is the same numbers in shuffled places.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from rlpeft.adapter_state import PEFT_PREFIX, AdapterState, module_of, tensor_name
from rlpeft.adapters.linear import base_weights
from rlpeft.adapters.methods import labels, method_of, named, peft_type_of
from rlpeft.adapters.policy import peft_config
from rlpeft.adapters.svf.factors import weight_digest
from rlpeft.adapters.svf.method import decomposition_of
from rlpeft.errors import ExpertError
from rlpeft.experts.card_parts import TaskCard, Transfer
from rlpeft.experts.files import (
    Expert,
    ExpertCard,
    adapter_of,
    load_expert,
    save_expert,
)
from rlpeft.experts.hub import fetched_from
from rlpeft.experts.merged import refuse_merged, refuse_quantised
from rlpeft.models.base import BaseModel
from rlpeft.recipe.run import AdapterConfig

MEASURED = (
    *("validation", "test", "base_test", "against_base", "start_test", "against_start"),
    "mixture",
)
"""What a card says of the expert on its own base."""


def transfer(folder: Path, model: str, out: Path, *, shuffle_seed: int | None) -> ExpertCard:
    """Write an expert's vectors as an expert of another base.

    Args:
        model: the other base, as in a recipe's `model.name`.
        shuffle_seed: permute each vector, by this seed: the control.

    Raises:
        ExpertError: not SVF, or the other base has other modules or ranks; names the first.
    """
    expert = load_expert(folder)
    refuse_merged(folder, expert.card, "transferred")
    refuse_quantised(folder, expert.card, "transferred")
    method = method_of(expert.config)
    if method is None or not method.is_transferable:
        raise _not_transferable(repr(str(folder)), peft_type_of(expert.config))
    base = BaseModel.open(model)
    has = {name: tuple(vector.shape) for name, vector in expert.tensors.items()}
    own = f"expert {expert.card.name!r}"
    check_structure(has, ranks(adapter_of(expert.card), base), who=own, model=model)
    tensors = dict(expert.tensors)
    if shuffle_seed is not None:
        tensors = shuffled(tensors, shuffle_seed)
    here = {"base_model_name_or_path": str(base.path), "factors": factors(expert, base)}
    state = AdapterState({**expert.config, **here}, tensors, 0)
    card = expert.card.model_copy(
        update={
            **dict.fromkeys(MEASURED),
            "tasks": {k: TaskCard(section=own.section) for k, own in expert.card.tasks.items()},
            "base_model": model,
            "base_digest": base.digest,
            "tokenizer": base.tokenizer_parts,
            "digest": state.digest,
            "transfer": Transfer(
                parent=expert.card.digest,
                base_digest=expert.card.base_digest,
                shuffle_seed=shuffle_seed,
                source=fetched_from(folder),
            ),
        }
    )
    save_expert(out, state, card)
    return card


def require_transferable(adapter: AdapterConfig, base: BaseModel, other: BaseModel) -> None:
    """Refuse what `transfer` would refuse of the experts of an adapter, before there are any.

    Raises:
        ExpertError: not SVF, the same base, or one of other modules or ranks; names the first.
    """
    if not named(adapter.type).is_transferable:
        raise _not_transferable("adapter.type", adapter.type)
    if base.digest == other.digest:
        raise ExpertError(
            f"an expert must be transferred to another base than its own, {other.name!r} has the "
            f"weights of {base.name!r}. Choose a base with weights of its own."
        )
    has, found = ranks(adapter, base), ranks(adapter, other)
    check_structure(has, found, who=f"model {base.name!r}", model=other.name)


def _not_transferable(what: str, kind: str) -> ExpertError:
    able = labels(lambda m: m.is_transferable)
    return ExpertError(f"only {able} experts can be transferred, {what} is {kind}.")


def ranks(adapter: AdapterConfig, base: BaseModel) -> dict[str, tuple[int, ...]]:
    """Tensor name -> (R,) of each matrix of a model that an adapter moves."""
    from peft.tuners.tuners_utils import check_target_module_exists

    config, suffix = peft_config(adapter, base.skeleton), named(adapter.type).tensor
    return {
        tensor_name(name, suffix): (min(module.weight.shape),)
        for name, module in base.skeleton.named_modules()
        if isinstance(module, torch.nn.Linear) and check_target_module_exists(config, name)
    }


def factors(expert: Expert, base: BaseModel) -> dict[str, str]:
    """Module name -> digest of the model's factors, of the modules that the expert moves."""
    names = [module_of(name, suffix_of(expert)) for name in expert.tensors]
    how, weights = decomposition_of(expert.config), base_weights(base, names)
    found = {name: weight_digest(weight_MN, how) for name, weight_MN in weights}
    return {name: found[name] for name in names}


def suffix_of(expert: Expert) -> str:
    """Of the one tensor a module."""
    method = method_of(expert.config)
    return method.tensor if method else ""


def check_structure(
    has: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    *,
    who: str,
    model: str,
) -> None:
    """Refuse a base with other modules or ranks than the expert's own.

    Args:
        has: tensor name -> its shape in `who`.
        found: the same in the other base, `model`.

    Raises:
        ExpertError: names the first module that differs, and both ranks.
    """
    for name in sorted(has.keys() | found.keys(), key=_natural):
        if has.get(name) != found.get(name):
            module = name.removeprefix(PEFT_PREFIX).rpartition(".")[0]
            ours, theirs = _said(has.get(name)), _said(found.get(name))
            raise ExpertError(
                "an expert can only be transferred to a base with the same modules and ranks: "
                f"{module!r} is {ours} in {who}, {theirs} in model {model!r}. Choose a base of the "
                "same shape."
            )


def shuffled(tensors: Mapping[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Each vector's numbers in another order, by seed: the multiset stays."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: vector[torch.randperm(len(vector), generator=generator)]
        for name, vector in sorted(tensors.items())
    }


def _natural(name: str) -> list[tuple[int, str]]:
    """Layer 2 comes before layer 10."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in name.split(".")]


def _said(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "absent"
    return f"of rank {shape[0]}" if len(shape) == 1 else f"of shape {list(shape)}"
