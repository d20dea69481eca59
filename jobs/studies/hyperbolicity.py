"""Measure whether a model's tokens look tree-like, before choosing a geometry for its adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from rlpeft.analysis.hyperbolicity import NULLS, Figure, Hyperbolicity, measure
from rlpeft.analysis.reference_spaces import reference_figures
from rlpeft.analysis.tokens import (
    FrequencyBand,
    PowerLaw,
    fit_power_law,
    norms_by_frequency,
    spearman,
)
from rlpeft.errors import ConfigError, DataError
from rlpeft.files import write_json
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.tasks.jsonl import read_jsonl

MIN_TOKENS = 4
"""Different tokens a question needs for a four-point condition."""


@dataclass(frozen=True)
class Report:
    """Everything `rlpeft analyze hyperbolicity` found.

    Attributes:
        num_left_out: sampled questions with fewer than `MIN_TOKENS` different tokens.
        layers: one measurement a layer; 0 is the input embeddings.
        references: the same of spaces of known hyperbolicity, with as many points as the questions.
        power_law: of token counts over all rows of the file.
        norm_rank_correlation: Spearman's, between a token's count and its embedding's norm.
        counts: how often each distinct token occurs.
        bands: mean norm by octave of frequency.
    """

    model: str
    data: str
    num_left_out: int
    layers: tuple[Hyperbolicity, ...]
    references: dict[str, Figure]
    power_law: PowerLaw
    norm_rank_correlation: float
    counts: tuple[int, ...]
    bands: tuple[FrequencyBand, ...]


def analyse_hyperbolicity(
    model_name: str,
    data: Path,
    *,
    column: str = "question",
    num_questions: int = 100,
    layers: Sequence[int] = (0,),
    seed: int = 0,
) -> Report:
    """Measure relative δ and its nulls on sampled questions, and token statistics on all.

    Raises:
        DataError: the file lacks the column, or holds too little text.
        ConfigError: the model has no such layer.
    """
    # Mistakes first: loading a large model takes minutes.
    texts = _texts(data, column)
    folder = resolve_model(model_name)
    _check_layers(folder, model_name, layers)
    tokenizer = load_tokenizer(folder)
    tokens = [torch.tensor(tokenizer(text)["input_ids"], dtype=torch.long) for text in texts]
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(seed))
    sampled = [tokens[index] for index in order[:num_questions].tolist()]
    usable = [ids for ids in sampled if len(ids.unique()) >= MIN_TOKENS]
    if not usable:
        raise DataError(
            f"{str(data)!r} must have questions of at least {MIN_TOKENS} different tokens in "
            f"column {column!r}, none of {len(sampled)} has. Name another column."
        )
    distinct, counts = torch.cat(tokens).unique(return_counts=True)
    power_law = fit_power_law(counts)
    model = load_base_model(folder)
    clouds = _clouds(model, usable, layers)
    norms = model.get_input_embeddings().weight.detach()[distinct].float().norm(dim=-1)
    measured = tuple(measure(clouds[layer], layer=layer, seed=seed) for layer in layers)
    return Report(
        model=model_name,
        data=data.name,
        num_left_out=len(sampled) - len(usable),
        layers=measured,
        references=reference_figures(measured[0].num_points, seed=seed),
        power_law=power_law,
        norm_rank_correlation=spearman(counts, norms),
        counts=tuple(counts.tolist()),
        bands=tuple(norms_by_frequency(counts, norms)),
    )


def _check_layers(folder: Path, model_name: str, layers: Sequence[int]) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    depth = config.get_text_config().num_hidden_layers
    for layer in layers:
        if not 0 <= layer <= depth:
            raise ConfigError(
                f"layers must be between 0 and {depth} in {model_name!r}, got {layer}."
            )


def _texts(data: Path, column: str) -> list[str]:
    if not data.is_file():
        raise DataError(f"--data must be an existing JSONL file, got {str(data)!r}.")
    rows = read_jsonl(data)
    texts = [row.get(column) for row in rows]
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise DataError(
                f"{str(data)!r} row {number} must have text in column {column!r}, got "
                f"{type(text).__name__}; its columns are {sorted(rows[number - 1])}. Name one "
                "with --column."
            )
    return [str(text) for text in texts]


@torch.no_grad()
def _clouds(
    model: Any, questions: Sequence[torch.Tensor], layers: Sequence[int]
) -> dict[int, list[torch.Tensor]]:
    """layer -> the token vectors of each question; no forward where only embeddings are asked."""
    if set(layers) == {0}:
        table = model.get_input_embeddings().weight
        return {0: [table[ids].float() for ids in questions]}
    clouds: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    for ids in questions:
        states = model(ids[None], output_hidden_states=True, use_cache=False).hidden_states
        for layer in layers:
            clouds[layer].append(states[layer][0].float())
    return clouds


def sentence(found: Hyperbolicity) -> str:
    """What one measurement shows and what it does not."""
    real = found.figures["real"].mean
    excess = {null: found.excess(null) for null in NULLS}
    above = [null for null, (mean, error) in excess.items() if mean > 2 * error]
    listed = ", ".join(f"{null} {found.figures[null].mean:.3f}" for null in NULLS)
    place = "the input embeddings" if found.layer == 0 else f"layer {found.layer}"
    if len(above) == len(NULLS):
        verdict = (
            "it is below all of them, so these tokens are more tree-like than chance of the same "
            "norms, values and covariance"
        )
    elif above:
        verdict = (
            f"it is below {' and '.join(above)} but not below all, so what looks tree-like is "
            "explained by the statistics the others keep"
        )
    else:
        verdict = (
            "it is below none of them, so this measure gives no sign of tree structure: a small "
            "δ in many dimensions is what nearly equal distances give"
        )
    return (
        f"Relative δ of {place} is {real:.3f}, by chance {listed}; {verdict}. It does not show "
        "whether a hyperbolic adapter helps: train one beside LoRA."
    )


def table(report: Report) -> Table:
    """Relative δ by layer: real, the nulls, and null - real with its standard error; then of
    reference spaces."""
    shown = Table(title=f"Relative hyperbolicity of {report.model} on {report.data}")
    for heading in ("layer", "cloud", "2δ/diameter", "sampled", "null - real"):
        shown.add_column(heading, justify="right" if heading != "cloud" else "left")
    for found in report.layers:
        for name, figure in found.figures.items():
            gap = "" if name == "real" else "{:+.4f} ± {:.4f}".format(*found.excess(name))
            mean = f"{figure.mean:.4f} ± {figure.std:.4f}"
            layer = str(found.layer) if name == "real" else ""
            shown.add_row(layer, name, mean, f"{figure.sampled_mean:.4f}", gap)
    for name, figure in report.references.items():
        mean = f"{figure.mean:.4f} ± {figure.std:.4f}"
        shown.add_row("", name, mean, f"{figure.sampled_mean:.4f}", "", style="dim")
    return shown


def as_dict(report: Report) -> dict[str, Any]:
    """The report as JSON takes it, means and sentences included."""
    plain = asdict(report)
    for found, entry in zip(report.layers, plain["layers"], strict=True):
        entry["figures"] = {name: _as_dict(figure) for name, figure in found.figures.items()}
        entry["excess"] = {null: found.excess(null) for null in NULLS}
        entry["sentence"] = sentence(found)
    plain["references"] = {name: _as_dict(f) for name, f in report.references.items()}
    return plain


def _as_dict(figure: Figure) -> dict[str, Any]:
    means = {"mean": figure.mean, "std": figure.std, "sampled_mean": figure.sampled_mean}
    return asdict(figure) | means


def write(report: Report, folder: Path) -> None:
    """Write `hyperbolicity.json` and the pictures."""
    from rlpeft.report.hyperbolicity_charts import draw

    write_json(folder / "hyperbolicity.json", as_dict(report), indent=1)
    draw(report.layers, report.counts, report.power_law, report.bands, folder=folder)
