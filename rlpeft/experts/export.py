"""Take an expert out of rlpeft, with proof that what was written is the expert.

    peft    a PEFT folder for `PeftModel.from_pretrained`
    merged  an ordinary `transformers` folder, tokenizer included, for formats that merge
    z       one safetensors file: module name -> multiplier z of its singular values (SVF)
    lora    a PEFT folder of a plain LoRA of a stated rank, which leaves something out
    gguf    one file of the merged model, made by llama.cpp's converter

What was written is read back, put on the base model afresh and compared with the expert; only then
does the folder appear under its name, whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file

from rlpeft.adapter_state import tensor_name
from rlpeft.adapters.method import Method, Mixing
from rlpeft.adapters.methods import labels, named
from rlpeft.adapters.tied import untie_adapted
from rlpeft.errors import ExpertError
from rlpeft.experts.export_asked import RECEIPT_FILE, TRAITS, Format, Traits, require_asked
from rlpeft.experts.export_config import own_config
from rlpeft.experts.export_gguf import GGUF_FILE, convert, read_gguf
from rlpeft.experts.export_lora import require_near, told, write_lora, write_near_lora
from rlpeft.experts.export_source import Source, attach, open_source
from rlpeft.experts.files import (
    CARD_FILE,
    CONFIG_FILE,
    TENSOR_FILE,
    adapter_of,
    other_prompts,
)
from rlpeft.experts.hub import fetched_from, is_hub_id
from rlpeft.experts.merged import refuse_merged, refuse_quantised
from rlpeft.experts.model_card import README_FILE, Beside, model_card
from rlpeft.experts.steps import run_of
from rlpeft.files import replacing_folder
from rlpeft.models.folder import PROCESSOR_FILES
from rlpeft.models.gap import largest_gap
from rlpeft.models.load import load_base_model, load_config
from rlpeft.models.probe import logprobs, probe_rows
from rlpeft.models.tokenizer import load_tokenizer, read_whole_tokenizer
from rlpeft.models.tokenizer_digest import tokenizer_parts
from rlpeft.runs.records import specimen_rows

Z_FILE = "z.safetensors"

ROUNDING = 1e-3
"""Log-prob difference that is always accepted: fp32 merging and other orders of summation."""

LARGEST_SHARE = 0.5
"""Beyond that, largest difference as a share of what the expert itself changes: an export must be
nearer to the expert than half the way to the base model."""


UNKNOWN_BASE = (
    "the base model has no name that others can resolve, so adapter_config.json names it as it is "
    "called here; --base-id OWNER/NAME names it on a hub"
)


UNTIED = (
    "head and input embedding, one matrix of the base, are two in it, since the expert moves one "
    "of them (tie_word_embeddings = false)"
)


@dataclass(frozen=True)
class Receipt:
    """What an export wrote, and how far it is from the expert.

    Attributes:
        files: name -> bytes.
        dtype: of merged weights, to which `gap` is what rounding costs; `None` in other formats.
        note: what a user of the export should know; empty if nothing.
        source: `ORG/NAME@COMMIT`, if the expert is one of the Hub.
        gap: largest difference of log-probs between the export, read back, and the expert, over
            `num_tokens` tokens.
        effect: the same between the base model and the expert.
        errors: module -> share of its update that a LoRA leaves out; see `write_lora`.
    """

    format: str
    folder: str
    expert: str
    digest: str
    base_digest: str
    files: dict[str, int]
    gap: float
    effect: float
    num_tokens: int
    dtype: str | None = None
    note: str = ""
    source: str | None = None
    errors: Mapping[str, float] = field(default_factory=dict)


def export_expert(
    folder: Path,
    out: Path,
    *,
    format: Format,
    base: str | None = None,
    base_id: str | None = None,
    dtype: str | None = None,
    rank: float | None = None,
    converter: Path | None = None,
    force: bool = False,
) -> Receipt:
    """Write an expert to `out` in one of the formats.

    Args:
        base: name of the base model; the one on the expert's card if absent.
        base_id: `owner/name` by which others find the base, for format `peft`; if absent, its
            name where that is one, else its folder.
        dtype: of merged weights; that of the base model's files if absent.
        rank: of a LoRA; below 1, the share of the squared update that it keeps.
        converter: file of llama.cpp's `convert_hf_to_gguf.py`, for format `gguf`.
        force: replace `out` if it is an earlier export.

    Raises:
        ExpertError: `out` exists, the base is another one, the method does not have this format,
            or what was written differs from the expert. `out` is then as it was.
    """
    card = require_asked(
        folder,
        out,
        format=format,
        base_id=base_id,
        dtype=dtype,
        rank=rank,
        converter=converter,
        force=force,
    )
    if TRAITS[format].names_base:
        refuse_merged(folder, card, "exported as a PEFT folder")
    if TRAITS[format].is_whole:
        refuse_quantised(folder, card, "merged into its base")
    source = open_source(folder, base, base_id, dtype)
    source = replace(source, rank=rank or 0, converter=converter)
    if TRAITS[format].has_rank:
        source = _for_lora(source, run_of(folder))
    with replacing_folder(out) as partial:
        receipt = write_and_compare(source, partial, format, str(out))
        receipt = replace(receipt, source=fetched_from(folder))
        (partial / RECEIPT_FILE).write_text(json.dumps(asdict(receipt), indent=2))
    return receipt


def _for_lora(source: Source, run: Path) -> Source:
    """What becomes a LoRA, with the rows that one is fitted to where it needs them."""
    card = source.expert.card
    method = named(adapter_of(card).type)
    if method.nears_lora:
        source = replace(source, rows=specimen_rows(run))
        require_near(source.rank, source.rows, method.label)
    elif not method.becomes_lora:
        forms = "peft or merged" if method.is_mergeable else "peft"
        raise ExpertError(
            f"--format lora takes an {labels(lambda m: m.becomes_lora or m.nears_lora)} expert, "
            f"{card.name!r} is "
            f"of {method.label}, of which no LoRA of any rank is made. Take --format {forms}."
        )
    return source


def write_and_compare(source: Source, partial: Path, format: Format, out: str) -> Receipt:
    """Write one format into `partial`, read it back and compare.

    Raises:
        ExpertError: the difference is too large.
    """
    form, traits = FORMATS[format], TRAITS[format]
    policy = source.policy()
    own_config(source.expert, policy)  # refused in any format
    probe = probe_rows(policy.get_base_model().config)
    expected = logprobs(policy, probe)
    with policy.disable_adapter():
        effect = largest_gap(logprobs(policy, probe), expected)
    errors = form.write(source, policy, partial) or {}
    lost = told(errors) if errors else ""
    del policy  # two models of fp32 weights need not be in memory at once
    gap = largest_gap(logprobs(form.read(source, partial), probe), expected)
    share = LARGEST_SHARE if traits.is_whole or traits.has_rank else 0.0  # else it is a mistake
    if not gap <= max(ROUNDING, share * effect):
        raise ExpertError(
            f"the export, read back, must be nearer to the expert than to its base: its log-probs "
            f"differ from the expert's by {gap:.3g}, the base's by {effect:.3g}. Nothing was "
            f"written. {f'{lost[0].upper()}{lost[1:]}. ' if lost else ''}"
            f"{form.advice}"
        )
    card = source.expert.card
    return Receipt(
        format=format,
        folder=out,
        expert=card.name,
        digest=card.digest,
        base_digest=card.base_digest,
        files={f.name: f.stat().st_size for f in sorted(partial.iterdir())},
        gap=gap,
        effect=effect,
        num_tokens=sum(len(row) - 1 for row in probe),
        dtype=source.dtype if traits.is_whole else None,
        note="; ".join(([lost] if lost else []) + _notes(source, traits, partial)),
        errors=errors,
    )


def _notes(source: Source, traits: Traits, folder: Path) -> list[str]:
    card = source.expert.card
    notes: list[str] = []
    if traits.names_base and not is_hub_id(source.base_id):
        notes.append(UNKNOWN_BASE)
    is_folder = traits.is_whole and not traits.is_converted
    if is_folder and source.loading.attention != "sdpa":
        notes.append(
            f"load it with attn_implementation={source.loading.attention!r}, as its base wants"
        )
    if is_folder and _is_tied(source.base_path) and not _is_tied(folder):
        notes.append(UNTIED)
    if card.tokenizer:  # cards from before this are common, and nothing is known to be wrong
        notes += other_prompts(card.name, card, tokenizer_parts(source.base_path))
    return notes


def _is_tied(folder: Path) -> bool:
    return bool(load_config(folder).get_text_config().tie_word_embeddings)


def write_peft(source: Source, policy: PeftModel, folder: Path) -> None:
    """The expert's folder, naming its base model as others know it, and a README."""
    config = own_config(source.expert, policy)
    config |= {"inference_mode": True, "base_model_name_or_path": source.base_id}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True))
    save_file(dict(source.expert.tensors), folder / TENSOR_FILE, metadata={"format": "pt"})
    _write_card(source, folder)
    beside = Beside(curve=source.curve)
    text = model_card(source.expert.card, source.base_id, source.loading, beside)
    (folder / README_FILE).write_text(text, encoding="utf-8")


def read_peft(source: Source, folder: Path) -> Any:
    """As a user of PEFT loads it."""
    return PeftModel.from_pretrained(source.base(), folder).eval()


def write_merged(source: Source, policy: PeftModel, folder: Path) -> None:
    """The base model with the expert in its weights, tokenizer included."""
    untie_adapted(policy.get_base_model())
    merged = policy.merge_and_unload(safe_merge=True)
    merged.to(getattr(torch, source.dtype)).save_pretrained(folder)
    read_whole_tokenizer(source.base_path).save_pretrained(folder)
    for name in ("generation_config.json", *PROCESSOR_FILES):
        if (beside := source.base_path / name).is_file():
            shutil.copy(beside, folder)


def read_merged(source: Source, folder: Path) -> Any:
    """As a user of `transformers` loads it."""
    load_tokenizer(folder)
    return load_base_model(folder)


def write_gguf(source: Source, policy: PeftModel, folder: Path) -> None:
    """The merged model as one file."""
    assert source.converter is not None  # `require_asked` saw to it
    with TemporaryDirectory(dir=folder) as merged:
        write_merged(source, policy, Path(merged))
        convert(source.converter, Path(merged), folder / GGUF_FILE, source.dtype)


def write_as_lora(source: Source, policy: PeftModel, folder: Path) -> dict[str, float]:
    """A LoRA of the source's rank; gives what it leaves out of each module."""
    method = named(adapter_of(source.expert.card).type)
    rank, base_id = source.rank, source.base_id
    if method.nears_lora:
        errors = write_near_lora(policy, folder, rank=rank, base_id=base_id, rows=source.rows)
    else:
        errors = write_lora(policy, folder, rank=rank, base_id=base_id)
    _write_card(source, folder)
    return errors


def write_z(source: Source, policy: PeftModel, folder: Path) -> None:
    """One vector [R] fp32 a module, the one that is mixed, whatever the expert's parametrisation.

    Raises:
        ExpertError: experts of this method have no such vector.
    """
    _, mixing = _vectors(source)
    modules = policy.get_base_model().named_modules()
    layers = {name: module for name, module in modules if isinstance(module, BaseTunerLayer)}
    card = source.expert.card
    about = {"base_digest": card.base_digest, "digest": card.digest, "name": card.name}
    with torch.no_grad():
        tensors = {name: mixing.of_layer(layer).contiguous() for name, layer in layers.items()}
    save_file(tensors, folder / Z_FILE, metadata=about)
    _write_card(source, folder)


def read_z(source: Source, folder: Path) -> Any:
    """The vectors on a fresh base, as an adapter that holds them as they are."""
    method, mixing = _vectors(source)
    tensors = load_file(folder / Z_FILE)
    z = {tensor_name(module, method.tensor): z_R for module, z_R in tensors.items()}
    adapter = adapter_of(source.expert.card).model_copy(update=dict(mixing.options))
    return attach(source.base(), adapter, z)


@dataclass(frozen=True)
class ExportForm:
    """All that depends on the format of an export.

    Attributes:
        write: fills a folder; gives what a LoRA leaves out of each module.
        read: what was written, on a base model afresh.
        advice: how to mend an export that is another policy.
    """

    write: Callable[[Source, PeftModel, Path], dict[str, float] | None]
    read: Callable[[Source, Path], Any]
    advice: str


FORMATS: dict[Format, ExportForm] = {
    "peft": ExportForm(
        write_peft,
        read_peft,
        f"{CONFIG_FILE} says something else than the card: restore it, or train again.",
    ),
    "merged": ExportForm(
        write_merged,
        read_merged,
        "Weights rounded too coarsely need --dtype float32, or --format peft.",
    ),
    "z": ExportForm(
        write_z,
        read_z,
        "The card says something else than the files: restore them, or train again.",
    ),
    "lora": ExportForm(
        write_as_lora,
        read_peft,
        "Raise --rank, or take --format merged or peft, which leaves nothing out.",
    ),
    "gguf": ExportForm(
        write_gguf,
        lambda source, folder: read_gguf(folder / GGUF_FILE),
        "Weights rounded too coarsely need --dtype float32; else take --format merged.",
    ),
}


def _vectors(source: Source) -> tuple[Method, Mixing]:
    method = named(adapter_of(source.expert.card).type)
    if method.mixing is None:
        raise ExpertError(
            f"--format z needs an {labels(lambda m: m.mixing)} expert, "
            f"{source.expert.card.name!r} is of {method.name!r}. Use --format peft."
        )
    return method, method.mixing


def _write_card(source: Source, folder: Path) -> None:
    (folder / CARD_FILE).write_text(source.expert.card.model_dump_json(indent=2))
