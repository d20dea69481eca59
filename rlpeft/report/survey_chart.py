"""The picture of an evaluation: every policy on every task, with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from rlpeft.report.charts import BLUE, FAINT, STYLE, WIDE, save_svg

MOST_PANELS = 3
"""Tasks side by side; more of them go below."""


def draw_survey(summary: Mapping[str, Any], path: Path) -> None:
    """Draw the leading metric of `summary.json`, a panel for each task, the base in grey."""
    tasks = summary["tasks"]
    columns = min(len(tasks), MOST_PANELS)
    rows = -(-len(tasks) // columns)
    names = [*next(iter(tasks.values()))["results"]]
    size = (WIDE[0] * (0.2 + 0.8 * columns / MOST_PANELS), rows * (0.9 + 0.28 * len(names)))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
        for axes, (task, found) in zip(panels, tasks.items(), strict=False):
            _draw_panel(axes, task, found, names)
        for axes in panels[len(tasks) :]:
            axes.set_axis_off()
        save_svg(figure, path)


def _draw_panel(axes: Axes, task: str, found: Mapping[str, Any], names: list[str]) -> None:
    metric = found["metrics"][0]
    results = found["results"]
    colours = {name: BLUE if "against_base" in results[name] else FAINT for name in names}
    interval_rows(axes, [(name, results[name][metric], colours[name]) for name in names])
    axes.set_title(task, fontsize=9, loc="left", parse_math=False)
    axes.set_xlabel(metric)
    if found["judged"]:
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def interval_rows(axes: Axes, rows: Sequence[tuple[str, Mapping[str, float], str]]) -> None:
    """Draw estimates (`value`, `low`, `high`) below each other: name, estimate, colour of each."""
    for at, (_, each, colour) in enumerate(rows):
        axes.plot([each["low"], each["high"]], [at, at], color=colour, linewidth=1.4)
        axes.plot(each["value"], at, "o", color=colour, markersize=5)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
