"""The pictures of a report, each an SVG image made of records, or `None` where there are none.

Rows are those of `metrics.jsonl`: a dict a step, in which a figure may be missing or null.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from PIL.Image import Image
from PIL.Image import open as open_image

from rlpeft.experts.change import kind_order, place, rms
from rlpeft.files import write_text

StepRows = Sequence[Mapping[str, Any]]

INK, FAINT, BLUE, ORANGE, GREEN = "#1f2733", "#8a94a3", "#2563c9", "#d9731a", "#2f8f4e"
LINES = (BLUE, ORANGE, GREEN, "#8f7ac6", "#c8553d", FAINT)
"""Of lines in one picture, in this order."""
SMALL, WIDE = (5.2, 2.7), (10.8, 3.2)
"""Sizes in inches: half and full width of the report."""

VERDICT_COLOURS = {
    "correct": GREEN,
    "wrong": "#c8553d",
    "unparsable": "#e3a857",
    "truncated": "#8f7ac6",
    "graded": BLUE,
    "timeout": "#5b6675",
    "error": "#1f2733",
    "unscorable": "#c3cad4",
}
"""By verdict kind, the unscored ones in greys."""

PALETTE = (
    BLUE,
    ORANGE,
    GREEN,
    "#c8553d",
    "#8f7ac6",
    "#1f9aa8",
    "#b8478f",
    "#7a6a4f",
    "#e3a857",
    INK,
)
"""By run, where several are compared."""

STYLE = {
    "axes.edgecolor": "#c3cad4",
    "axes.grid": True,
    "axes.labelcolor": FAINT,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "grid.color": "#e9edf2",
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "rlpeft",  # the same records give the same bytes
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}


@contextmanager
def canvas(size: tuple[float, float] = SMALL) -> Iterator[tuple[Figure, Axes]]:
    """A figure in the report's style, over steps unless it is told otherwise."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set_axisbelow(True)
        yield figure, axes


def svg_text(figure: Figure) -> str:
    """The picture as SVG; the same picture gives the same bytes."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def svg_uri(figure: Figure) -> str:
    """An image that lies in the page itself."""
    encoded = base64.b64encode(svg_text(figure).encode()).decode()
    return f"data:image/svg+xml;base64,{encoded}"


def pixels(figure: Figure) -> Image:
    """The picture in pixels, for what shows no SVG."""
    data = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(data, format="png", dpi=150)
    return open_image(data)


def save_svg(figure: Figure, path: Path) -> None:
    """Write the picture whole or not at all."""
    write_text(path, svg_text(figure))


def series(rows: StepRows, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one figure, where it was recorded."""
    found = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]


def smooth(values: Sequence[float]) -> list[float]:
    """Mean of each value and those before it, a twentieth of them but at least seven."""
    window = max(7, len(values) // 20)
    starts = [max(0, end - window) for end in range(1, len(values) + 1)]
    return [
        sum(values[s:e]) / (e - s) for s, e in zip(starts, range(1, len(values) + 1), strict=True)
    ]


def line_chart(
    rows: StepRows, name: str, *, colour: str = BLUE, scale: float = 1.0, from_zero: bool = False
) -> Figure | None:
    """One figure over steps, with its running mean where it is long enough to be noisy."""
    steps, values = series(rows, name)
    if not steps:
        return None
    values = [scale * value for value in values]
    noisy = len(values) > 10
    with canvas() as (figure, axes):
        axes.plot(steps, values, color=colour, alpha=0.3 if noisy else 1.0)
        if noisy:
            axes.plot(steps, smooth(values), color=colour)
        if from_zero:
            axes.set_ylim(0, 1.1 * max(values) or 1.0)
        axes.set_xlabel("step")
    return figure


def lines_chart(
    rows: StepRows, names: Mapping[str, str], *, percent: bool = False
) -> Figure | None:
    """Several figures over steps, each smoothed where it is long enough to be noisy.

    Args:
        names: metric name -> label.
    """
    found = {label: series(rows, name) for name, label in names.items()}
    if not any(steps for steps, _ in found.values()):
        return None
    with canvas() as (figure, axes):
        for (label, (steps, values)), colour in zip(found.items(), cycle(LINES), strict=False):
            shown = smooth(values) if len(values) > 10 else values
            axes.plot(steps, shown, color=colour, label=label)
        axes.set_xlabel("step")
        figure.legend(loc="outside upper center", ncols=4)
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def overlay_chart(
    rows_by_run: Sequence[StepRows], name: str, *, percent: bool = False
) -> Figure | None:
    """One figure of several runs, each in its colour of `PALETTE`, by its running mean if noisy."""
    every = [series(rows, name) for rows in rows_by_run]
    if not any(steps for steps, _ in every):
        return None
    with canvas() as (figure, axes):
        for colour, (steps, values) in zip(PALETTE, every, strict=False):
            noisy = len(values) > 25
            marker = "" if noisy else "o"
            shown = smooth(values) if noisy else values
            axes.plot(steps, shown, color=colour, marker=marker, markersize=3)
        axes.set_xlabel("step")
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def band_chart(
    rows: StepRows, middle: str, low: str, high: str, *, colour: str = BLUE, percent: bool = False
) -> Figure | None:
    """A figure with the band between two others."""
    steps, values = series(rows, middle)
    lows, highs = series(rows, low)[1], series(rows, high)[1]
    if not steps or not len(values) == len(lows) == len(highs):
        return None
    with canvas() as (figure, axes):
        axes.fill_between(steps, lows, highs, color=colour, alpha=0.15, linewidth=0)
        marker = "o" if len(steps) < 25 else ""
        axes.plot(steps, values, color=colour, marker=marker, markersize=4)
        axes.set_xlabel("step")
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def interval_chart(rows: StepRows, name: str, *, percent: bool = False) -> Figure | None:
    """A figure of validations with its interval, which is recorded as `_low` and `_high`."""
    return band_chart(rows, name, f"{name}_low", f"{name}_high", colour=GREEN, percent=percent)


def stacked_chart(
    rows: StepRows, names: Mapping[str, tuple[str, str]], *, unit: str
) -> Figure | None:
    """Figures that add up, over steps.

    Args:
        names: metric name -> (label, colour), from the bottom up; those that are 0 throughout
            are left out.
    """
    steps = [row["step"] for row in rows if any(name in row for name in names)]
    table = {
        name: [row.get(name) or 0.0 for row in rows if any(n in row for n in names)]
        for name in names
    }
    seen = [name for name, values in table.items() if any(values)]
    if not seen:
        return None
    with canvas() as (figure, axes):
        axes.stackplot(
            steps,
            [table[name] for name in seen],
            labels=[names[name][0] for name in seen],
            colors=[names[name][1] for name in seen],
            alpha=0.85,
        )
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.margins(x=0, y=0)
        figure.legend(loc="outside upper center", ncols=4)
    return figure


def time_chart(rows: StepRows) -> Figure | None:
    """Seconds that the learner waits for groups and learns, and what is left of each step."""
    timed, parts = ("step_time", "perf/rollout_s", "perf/learner_s"), []
    for row in rows:
        if all(row.get(name) is not None for name in timed):
            waited = row.get("perf/learner_idle_s", row["perf/rollout_s"])  # all of it, in turn
            rest = row["step_time"] - waited - row["perf/learner_s"]
            parts.append({**row, "waited": waited, "rest": rest})
    names = {
        "waited": ("rollout and rewards", BLUE),
        "perf/learner_s": ("learner", ORANGE),
        "rest": ("sync and validation", FAINT),
    }
    return stacked_chart(parts, names, unit="seconds")


def histogram(lengths_by_label: Mapping[str, Sequence[int]]) -> Figure | None:
    """Share of completions by length, side by side for at most three labels."""
    every = [length for lengths in lengths_by_label.values() for length in lengths]
    if not every:
        return None
    low, high = min(every), max(every)
    width = max(1, math.ceil((high - low + 1) / 16))
    bins = [edge - 0.5 for edge in range(low, high + width + 1, width)]
    with canvas() as (figure, axes):
        axes.hist(
            list(lengths_by_label.values()),
            bins,
            weights=[[1 / len(each)] * len(each) for each in lengths_by_label.values()],
            label=list(lengths_by_label),
            color=[FAINT, BLUE, ORANGE][: len(lengths_by_label)],
        )
        axes.set_xlabel("tokens")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        figure.legend(loc="outside upper center", ncols=3)
    return figure


def change_map(change: Mapping[str, Any]) -> Figure:
    """Root mean square of the change by layer (down) and kind of module (across)."""
    table, layers, kinds = change_grid(change)
    with canvas((SMALL[0], min(4.4, 1.2 + 0.24 * max(len(layers), 4)))) as (figure, axes):
        image = axes.imshow(table, cmap="Blues", aspect="auto", vmin=0)
        axes.set_xticks(range(len(kinds)), [kind.removesuffix("_proj") for kind in kinds])
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
        axes.set_ylabel("layer")
        axes.grid(visible=False)
        if len(layers) <= 12:
            _annotate(axes, table)
        else:
            figure.colorbar(image, ax=axes, aspect=30)
    return figure


def confusion_map(confusion: Mapping[str, Mapping[str, int]]) -> Figure:
    """Counts of gold labels (down) by what was said (across)."""
    said = list(next(iter(confusion.values())))
    table = np.array([[row[label] for label in said] for row in confusion.values()], float)
    with canvas((SMALL[0], 1.2 + 0.34 * max(len(confusion), 3))) as (figure, axes):
        axes.imshow(table, cmap="Blues", aspect="auto", vmin=0)
        axes.set_xticks(range(len(said)), said)
        axes.set_yticks(range(len(confusion)), list(confusion))
        axes.set_xlabel("said")
        axes.set_ylabel("gold")
        axes.grid(visible=False)
        _annotate(axes, table, "{:.0f}")
    return figure


def _annotate(axes: Axes, table: np.ndarray, form: str = "{:.2g}") -> None:
    middle = np.nanmax(table) / 2
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = "white" if value > middle else INK
            axes.text(
                column, row, form.format(value), ha="center", va="center", color=colour, size=8
            )


def change_grid(change: Mapping[str, Any]) -> tuple[np.ndarray, list[int], list[str]]:
    """Root mean square by layer and kind; NaN where a layer has no such module.

    A layer may have many modules of a kind: experts, and those that they share.
    """
    squares: dict[tuple[int, str], float] = {}
    counts: dict[tuple[int, str], int] = {}
    for module, values in change.items():
        cell = place(module)
        counts[cell] = counts.get(cell, 0) + values.numel()
        squares[cell] = squares.get(cell, 0.0) + values.numel() * rms(values) ** 2
    layers = sorted({layer for layer, _ in counts})
    kinds = sorted({kind for _, kind in counts}, key=kind_order)
    table = np.full((len(layers), len(kinds)), math.nan)
    for (layer, kind), count in counts.items():
        value = math.sqrt(squares[layer, kind] / count)
        table[layers.index(layer), kinds.index(kind)] = value
    return table, layers, kinds


def spectrum_rows(change: Mapping[str, Any]) -> dict[str, tuple[list[int], np.ndarray]]:
    """Kind -> layers of its modules, and z of one module a row, NaN beyond its own rank."""
    by_kind: dict[str, list[tuple[int, np.ndarray]]] = {}
    for module, values in change.items():
        layer, kind = place(module)
        by_kind.setdefault(kind, []).append((layer, values.numpy() + 1))
    found = {}
    for kind in sorted(by_kind, key=kind_order):
        rows = sorted(by_kind[kind], key=lambda row: row[0])
        table = np.full((len(rows), max(len(z) for _, z in rows)), math.nan)
        for row, (_, z) in zip(table, rows, strict=True):
            row[: len(z)] = z
        found[kind] = ([layer for layer, _ in rows], table)
    return found


def spectrum(change: Mapping[str, Any]) -> Figure:
    """z by module (down) and singular value (across, largest first), a panel for each kind."""
    kinds = spectrum_rows(change)
    reach = max(float(values.abs().max()) for values in change.values()) or 1e-6
    rows = math.ceil(len(kinds) / 4)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDE[0], 0.5 + 1.9 * rows), layout="constrained")
        panels = figure.subplots(rows, min(4, len(kinds)), squeeze=False).flatten()
        norm = TwoSlopeNorm(1.0, 1 - reach, 1 + reach)
        for axes, (kind, (layers, table)) in zip(panels, kinds.items(), strict=False):
            image = _panel(axes, kind, layers, table, norm)
        for axes in panels[len(kinds) :]:
            axes.set_axis_off()
        figure.colorbar(image, ax=list(panels), label="z", shrink=0.8, aspect=30, pad=0.01)
        return figure


def _panel(
    axes: Axes, kind: str, layers: Sequence[int], table: np.ndarray, norm: TwoSlopeNorm
) -> Any:
    axes.set_title(kind, fontsize=9, loc="left")
    axes.grid(visible=False)
    names = dict(enumerate(map(str, layers)))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda row, _: names.get(round(row), "")))
    axes.set_ylabel("layer")
    return axes.imshow(
        np.ma.masked_invalid(table),
        cmap="RdBu_r",
        aspect="auto",
        norm=norm,
        interpolation="nearest",
        rasterized=True,
    )
