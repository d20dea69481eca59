"""A base model with experts merged into it: each machine that opens it makes it, once.

What travels is the experts, a few hundred kilobytes each. The merged weights lie in the user's
cache as an ordinary model folder, so that engines, factors and tokenizers find them as those of any
base. The digest of such a base names what it was made of, and not its numbers: processors round
sums in ways of their own, and an expert trained on one machine must be known on another.

Experts of one base add up: W + Σ_k (W_k - W).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from rlpeft.adapters.methods import labels, method_of, peft_type_of
from rlpeft.adapters.policy import attach_adapter, load_tensors
from rlpeft.adapters.tied import untie_adapted
from rlpeft.errors import ExpertError, ModelError
from rlpeft.experts.card_parts import Parent
from rlpeft.experts.files import (
    CARD_FILE,
    PARENTS_FOLDER,
    Expert,
    ExpertCard,
    adapter_of,
    called,
    load_expert,
    save_expert,
)
from rlpeft.experts.steps import run_of
from rlpeft.files import replacing_folder
from rlpeft.models.base import BaseModel
from rlpeft.models.merged import alone, merged_home
from rlpeft.models.quantised import LIBRARIES
from rlpeft.models.weight_files import INDEX_FILE
from rlpeft.once import require_once
from rlpeft.recipe.rollout import ModelConfig

OWN_FILES = ("config.json", INDEX_FILE)
"""Of a model's folder, what is said of its weights."""


def open_base(model: ModelConfig, parents: Sequence[Expert] = ()) -> BaseModel:
    """The base model, with experts merged into it; see `merged_base`.

    Raises:
        ModelError: there is no such model.
    """
    merged = merged_base(BaseModel.open(model.name), parents, dtype=model.dtype)
    return merged.quantised(model.quantisation)


def merged_base(base: BaseModel, parents: Sequence[Expert], *, dtype: str) -> BaseModel:
    """A base with experts merged into it, if there are any; that takes as long as loading.

    Args:
        parents: in the order of the recipe; they stand on the base itself.
        dtype: that merged weights are kept in.

    Raises:
        ModelError: merged weights are not finite.
        ExpertError: an expert does not fit its card.
    """
    if not parents:
        return base
    made = merged_digest(base, parents)
    folder = merged_home() / f"{made}-{dtype}"
    if not folder.is_dir():
        with alone():
            if not folder.is_dir():
                with replacing_folder(folder) as place:
                    _write(base, parents, dtype, place)
    return BaseModel(base.name, folder, made, partial(_again, base.name, tuple(parents), dtype))


def _again(name: str, parents: Sequence[Expert], dtype: str) -> BaseModel:
    return merged_base(BaseModel.open(name), parents, dtype=dtype)


def read_parent(folder: Path, base: BaseModel) -> Expert:
    """An expert that shall be merged into a base.

    Raises:
        ExpertError: no expert there, one of another base, or of a method that no matrix expresses.
    """
    expert = load_expert(folder, base_digest=base.digest)
    method = method_of(expert.config)
    if method is None or not method.is_mergeable:
        raise ExpertError(
            f"model.merge must list experts of {labels(lambda m: m.is_mergeable)}, "
            f"{str(folder)!r} is {peft_type_of(expert.config)}: its update depends on the token."
        )
    return expert


def require_merged_once(names: Sequence[str], parents: Sequence[Expert]) -> None:
    """Refuse an expert that would be added to the base twice.

    Args:
        names: of the parents, as the recipe has them.

    Raises:
        ConfigError: one is named twice, or a copy of one.
    """
    digests = [expert.card.digest for expert in parents]
    require_once("model.merge must name each expert", names, digests)


def merged_digest(base: BaseModel, parents: Sequence[Expert]) -> str:
    """SHA-256 (hex) over the base's digest and those of the experts, in their order."""
    digests = [base.digest, *(expert.card.digest for expert in parents)]
    return hashlib.sha256("merged\n".join(digests).encode()).hexdigest()


def keep_parents(run: Path, parents: Sequence[Expert]) -> None:
    """Copy them into a run's folder: the run and its experts need nothing else from then on."""
    for expert in parents:
        folder = run / PARENTS_FOLDER / expert.card.digest[:16]
        if not (folder / CARD_FILE).is_file():
            save_expert(folder, expert.state(), expert.card)


def find_parents(folder: Path, card: ExpertCard) -> list[Expert]:
    """The experts that are merged into the base of an expert, of its run's folder.

    Args:
        folder: the expert's.

    Raises:
        ExpertError: one of them is not there.
    """
    return [_find(folder, card, parent) for parent in card.merged]


def _find(folder: Path, card: ExpertCard, parent: Parent) -> Expert:
    for kept in sorted((run_of(folder) / PARENTS_FOLDER).glob("*")):
        expert = load_expert(kept)
        if expert.card.digest == parent.digest:
            return expert
    raise ExpertError(
        f"expert {str(folder)!r} stands on {card.base_model} with {parent.name!r} "
        f"(sha256:{parent.digest[:12]}…) merged into it, and no folder {PARENTS_FOLDER!r} of its "
        "run holds that. Use it in the folder of its run, or put that folder beside it."
    )


def base_of(folder: Path, card: ExpertCard, model: ModelConfig | None = None) -> BaseModel:
    """The base that an expert stands on, with what was merged into it.

    Args:
        model: in the place of the one on the card.

    Raises:
        ExpertError: what was merged into it is not there.
    """
    return open_base(model or model_of(card), find_parents(folder, card))


def model_of(card: ExpertCard, name: str | None = None) -> ModelConfig:
    """The base model on a card, quantised as it was, as a recipe says it.

    Args:
        name: in the place of the one on the card.

    Raises:
        ExpertError: a quantisation that nobody knows here.
    """
    tree = {"name": name or card.base_model, "quantisation": card.quantisation or None}
    try:
        return ModelConfig.model_validate(tree)
    except ValidationError as error:
        raise ExpertError(
            f"the card of expert {card.name!r} must name a quantisation that there is "
            f"({', '.join(LIBRARIES)}), got {card.quantisation!r:.80}."
        ) from error


def refuse_merged(folder: Path, card: ExpertCard, what: str) -> None:
    """Refuse what would part an expert from the base that was made for it.

    Args:
        what: it cannot be.

    Raises:
        ExpertError: its base is a merged one.
    """
    if card.merged:
        raise ExpertError(
            f"an expert of a merged base cannot be {what}: {str(folder)!r} stands on "
            f"{called(card)}, which nobody else has. rlpeft export --format merged writes both "
            "as one model."
        )


def refuse_quantised(folder: Path, card: ExpertCard, what: str) -> None:
    """Refuse what needs a base of floats.

    Args:
        what: it cannot be.

    Raises:
        ExpertError: its base is quantised as it is loaded.
    """
    if card.quantisation:
        raise ExpertError(
            f"an expert of a quantised base cannot be {what}: {str(folder)!r} stands on "
            f"{called(card)}, whose weights are no floats. rlpeft export --format peft writes a "
            "folder that says how the base is quantised."
        )


def _write(base: BaseModel, parents: Sequence[Expert], dtype: str, folder: Path) -> None:
    model = _merged(base, parents)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    for file in base.path.iterdir():
        if file.is_file() and file.suffix != ".safetensors" and file.name not in OWN_FILES:
            shutil.copy(file, folder)


def _merged(base: BaseModel, parents: Sequence[Expert]) -> Any:
    first, *others = parents
    model, tied = _with(base, first), base.config.get_text_config().tie_word_embeddings
    if not others:
        return model
    plain = base.model().state_dict()
    total = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for other in others:
        moved = _with(base, other)
        if any(m.config.get_text_config().tie_word_embeddings != tied for m in (model, moved)):
            raise ModelError(
                "experts that are merged together must leave a head alone that is the embedding, "
                "too; one of them moves it. Merge that one alone."
            )
        for name, tensor in moved.state_dict().items():
            total[name] = total[name] + (tensor - plain[name])
    model.load_state_dict(total)
    return model


def _with(base: BaseModel, expert: Expert) -> Any:
    """The base in fp32 with one expert in its weights."""
    policy = attach_adapter(base.model(), adapter_of(expert.card), seed=0).eval()
    load_tensors(policy, expert.tensors)
    untie_adapted(policy.get_base_model())
    return policy.merge_and_unload(safe_merge=True)
