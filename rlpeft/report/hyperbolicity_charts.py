"""The pictures of `rlpeft analyze`, as SVG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlpeft.analysis.hyperbolicity import NULLS, Hyperbolicity
from rlpeft.analysis.tokens import FrequencyBand, PowerLaw
from rlpeft.report.charts import BLUE, FAINT, GREEN, ORANGE, STYLE, save_svg

COLOURS = {"real": BLUE, "isotropic": FAINT, "permuted": GREEN, "covariance": ORANGE}


def draw(
    layers: Sequence[Hyperbolicity],
    counts: Sequence[int],
    power_law: PowerLaw,
    bands: Sequence[FrequencyBand],
    *,
    folder: Path,
) -> None:
    """Write hyperbolicity.svg, tokens.svg and, for several layers, layers.svg."""
    with matplotlib.rc_context(STYLE | {"axes.axisbelow": True}):
        figure = Figure(figsize=(6.4, 2.9), layout="constrained")
        _clouds(figure.add_subplot(), layers[0])
        save_svg(figure, folder / "hyperbolicity.svg")
        figure = Figure(figsize=(8.8, 3.1), layout="constrained")
        left, right = figure.subplots(1, 2)
        _frequencies(left, counts, power_law)
        _norms(right, bands)
        save_svg(figure, folder / "tokens.svg")
        if len(layers) > 1:
            figure = Figure(figsize=(6.4, 3.1), layout="constrained")
            _layers(figure.add_subplot(), layers)
            save_svg(figure, folder / "layers.svg")


def _clouds(axes: Axes, found: Hyperbolicity) -> None:
    """One dot a question, real and nulls below each other."""
    names = ["real", *NULLS]
    generator = torch.Generator().manual_seed(0)
    for row, name in enumerate(names):
        figure = found.figures[name]
        jitter = 0.5 * (torch.rand(len(figure.base), generator=generator) - 0.5)
        axes.scatter(figure.base, row + jitter, s=7, color=COLOURS[name], alpha=0.35, linewidths=0)
        axes.plot([figure.mean] * 2, [row - 0.36, row + 0.36], color=COLOURS[name])
        axes.text(figure.mean, row - 0.4, f"{figure.mean:.3f}", ha="center", fontsize=8.5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.75)
    axes.set_xlim(left=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("relative δ of one question (0: tree)")
    axes.set_title("Tokens against three kinds of chance", loc="left", fontsize=10)


def _frequencies(axes: Axes, counts: Sequence[int], law: PowerLaw) -> None:
    """Share of tokens at least this frequent, and the fitted tail."""
    values, repeats = torch.tensor(counts, dtype=torch.float64).unique(return_counts=True)
    share = repeats.flip(0).cumsum(0).flip(0) / len(counts)
    axes.loglog(values, share, ".", color=BLUE, markersize=4)
    tail = torch.logspace(
        float(torch.tensor(law.xmin).log10()), float(values[-1].log10()), 50, dtype=torch.float64
    )
    alpha = torch.tensor(law.alpha, dtype=torch.float64)
    start = law.num_tail / len(counts)
    fitted = torch.special.zeta(alpha, tail) / torch.special.zeta(alpha, tail[0])
    axes.loglog(tail, start * fitted, color=ORANGE, label=f"exponent {law.alpha:.2f}")
    axes.set_xlabel("occurrences of a token")
    axes.set_ylabel("share of tokens, at least so many")
    axes.legend(loc="lower left")
    axes.set_title("Token frequencies", loc="left", fontsize=10)


def _norms(axes: Axes, bands: Sequence[FrequencyBand]) -> None:
    """Mean embedding norm by octave of frequency; large dots hold many tokens."""
    most = max(band.num_tokens for band in bands)
    sizes = [8 + 90 * (band.num_tokens / most) ** 0.5 for band in bands]
    axes.scatter([b.low for b in bands], [b.mean_norm for b in bands], s=sizes, color=BLUE)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("occurrences of a token (octaves)")
    axes.set_ylabel("mean norm of its embedding")
    axes.set_title("Norm and frequency", loc="left", fontsize=10)


def _layers(axes: Axes, layers: Sequence[Hyperbolicity]) -> None:
    """Mean relative δ by layer; the band is one standard deviation over questions."""
    depth = [found.layer for found in layers]
    for name in ("real", *NULLS):
        means = [found.figures[name].mean for found in layers]
        axes.plot(depth, means, color=COLOURS[name], label=name)
    real = [found.figures["real"] for found in layers]
    low, high = [f.mean - f.std for f in real], [f.mean + f.std for f in real]
    axes.fill_between(depth, low, high, color=BLUE, alpha=0.12, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("layer (0: input embeddings)")
    axes.set_ylabel("relative δ")
    axes.legend(ncols=2)
