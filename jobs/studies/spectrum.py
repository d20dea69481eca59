"""The spectrum of a model's weights: table, CSV, JSON and pictures (the paper's Figures 10-11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.box import SIMPLE_HEAD
from rich.table import Table

from rlpeft.analysis.spectrum import Spectrum, spectra
from rlpeft.experts.change import kind_order, place
from rlpeft.files import write_csv, write_json
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.report.charts import STYLE, save_svg


def analyse_spectrum(model_name: str, tops: Sequence[int]) -> list[Spectrum]:
    """Measure every adapted kind of layer of a base model."""
    return spectra(load_base_model(resolve_model(model_name)), tops)


def by_kind(found: Sequence[Spectrum]) -> dict[str, list[Spectrum]]:
    """Records of each kind of module, in the order data passes them."""
    kinds: dict[str, list[Spectrum]] = {}
    for spectrum in found:
        kinds.setdefault(place(spectrum.module)[1], []).append(spectrum)
    return {kind: kinds[kind] for kind in sorted(kinds, key=kind_order)}


def table(model_name: str, found: Sequence[Spectrum]) -> Table:
    """Mean share by kind, over layers."""
    shown = Table(title=f"Share of the singular values of {model_name}", box=SIMPLE_HEAD)
    shown.add_column("kind")
    for heading in ("layers", "rank", "stable rank", *(f"top {top}" for top in found[0].shares)):
        shown.add_column(heading, justify="right")
    for kind, members in [*by_kind(found).items(), ("all", list(found))]:
        ranks = sorted({member.rank for member in members})
        shares = [fmean(m.shares[top] for m in members) for top in members[0].shares]
        shown.add_row(
            kind,
            str(len(members)),
            "/".join(map(str, ranks)),
            f"{fmean(m.stable_rank for m in members):.1f}",
            *(f"{share:.1%}" for share in shares),
        )
    return shown


def as_dicts(found: Sequence[Spectrum]) -> list[dict[str, Any]]:
    """Records with their place, as JSON takes them."""
    return [
        {"layer": layer, "kind": kind, **asdict(spectrum)}
        for spectrum in found
        for layer, kind in [place(spectrum.module)]
    ]


def write(found: Sequence[Spectrum], folder: Path) -> None:
    """Write `spectrum.csv`, `spectrum.json` and `spectrum.svg`."""
    rows = as_dicts(found)
    write_json(folder / "spectrum.json", rows, indent=1)
    tops, facts = list(found[0].shares), ("layer", "kind", "rank", "stable_rank")
    table = [
        [*(row[fact] for fact in facts), *(row["shares"][top] for top in tops)] for row in rows
    ]
    write_csv(folder / "spectrum.csv", [*facts, *(f"top_{top}" for top in tops)], table)
    _draw(found, folder / "spectrum.svg")


def _draw(found: Sequence[Spectrum], path: Path) -> None:
    """A line a kind: the share of each number of components, by layer."""
    tops = list(found[0].shares)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.6 * len(tops) + 1.2, 2.9), layout="constrained")
        panels = figure.subplots(1, len(tops), sharey=True, squeeze=False)[0]
        for axes, top in zip(panels, tops, strict=True):
            for kind, members in by_kind(found).items():
                layers = [place(member.module)[0] for member in members]
                shares = np.array([member.shares[top] for member in members])
                axes.plot(layers, shares, label=kind.removesuffix("_proj"))
            axes.set_title(f"top {top}", loc="left", fontsize=10)
            axes.set_xlabel("layer")
            axes.set_ylim(0, 1)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        panels[0].set_ylabel("share of Σ σ")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center")
        save_svg(figure, path)
