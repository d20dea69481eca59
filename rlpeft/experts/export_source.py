"""What an export is made of: an expert on the base model that it stands on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel

from rlpeft.adapters.policy import attach_adapter, load_tensors
from rlpeft.errors import ExpertError, ModelError
from rlpeft.experts.files import Expert, adapter_of, load_expert
from rlpeft.experts.hub import is_hub_id
from rlpeft.experts.merged import base_of, model_of
from rlpeft.experts.model_card_use import BaseCode
from rlpeft.experts.steps import run_of
from rlpeft.models.load import exact_attention, load_base_model, load_config, model_class
from rlpeft.recipe.run import AdapterConfig
from rlpeft.runs.records import read_metrics
from rlpeft.types import Quantisation


@dataclass(frozen=True)
class Source:
    """An expert with the base model it stands on.

    Attributes:
        dtype: that merged weights are written in.
        base_id: what a PEFT folder calls the base; others find it by that name, or by none.
        quantisation: how the base is loaded, as in a recipe's `model.quantisation`.
        rank: of a LoRA; see `rlpeft.experts.export_lora.write_lora`.
        curve: metrics of the run in whose folder the expert lies, one row a step; else empty.
        rows: token ids of prompts with their answers, on which a LoRA shall be near it.
        converter: file of the program that makes a GGUF file of a merged model.
    """

    expert: Expert
    base_path: Path
    dtype: str
    base_id: str
    quantisation: Quantisation | None = None
    rank: float = 0
    curve: Sequence[Mapping[str, Any]] = ()
    rows: Sequence[Sequence[int]] = ()
    converter: Path | None = None

    @property
    def loading(self) -> BaseCode:
        """How the base is loaded, to compute what its config says."""
        config = load_config(self.base_path)
        by = model_class(config).__name__
        return BaseCode(exact_attention(config), by, self.quantisation or "")

    def base(self) -> Any:
        """The base model, loaded afresh. Everything is compared in fp32."""
        return load_base_model(self.base_path, quantisation=self.quantisation)

    def policy(self) -> PeftModel:
        """The expert on its base, built from its card and not from its PEFT config.

        Raises:
            ExpertError: its tensors are not those of the adapter on its card.
        """
        try:
            return attach(self.base(), adapter_of(self.expert.card), self.expert.tensors)
        except ModelError as error:
            raise ExpertError(
                f"expert {self.expert.card.name!r} does not fit its card: {error}"
            ) from error


def open_source(
    folder: Path,
    base: str | None = None,
    base_id: str | None = None,
    dtype: str | None = None,
) -> Source:
    """Load an expert and find its base model.

    Raises:
        ExpertError: no expert there, its files contradict each other, or the base model is
            another one.
        DataError: metrics of its run cannot be read.
    """
    card = load_expert(folder).card
    name = base or card.base_model
    found = base_of(folder, card, model_of(card, name))
    path, expert = found.path, load_expert(folder, base_digest=found.digest)
    config = json.loads((path / "config.json").read_text())
    stored = config.get("dtype") or config.get("torch_dtype") or "float32"
    named = base_id or (name if is_hub_id(name) else str(path.resolve()))
    curve = read_metrics(run_of(folder))
    return Source(
        expert, path, dtype or str(stored), named, quantisation=found.quantisation, curve=curve
    )


def attach(base: Any, adapter: AdapterConfig, tensors: Any) -> PeftModel:
    """Put given adapter tensors, under PEFT's names, around a base model.

    Raises:
        ModelError: they are not the tensors of this adapter on this base.
    """
    policy = attach_adapter(base, adapter, seed=0).eval()
    load_tensors(policy, tensors)
    return policy
