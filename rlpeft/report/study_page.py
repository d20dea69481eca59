"""The page of a study: its claim, every arm with its interval, curves, contrasts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from rlpeft.files import write_text
from rlpeft.report.charts import (
    BLUE,
    FAINT,
    INK,
    PALETTE,
    STYLE,
    WIDE,
    svg_uri,
)
from rlpeft.report.page import page_environment
from rlpeft.report.survey_chart import interval_rows


def write_study_page(found: Mapping[str, Any], path: Path) -> None:
    """Write the page.

    Args:
        found: what `jobs.studies.figures.figures` gives.
    """
    page = (
        page_environment()
        .get_template("study.html.jinja")
        .render(
            found=found,
            study=found["study"],
            fixed=fixed(found),
            arms=arms_chart(found),
            curves=curves_chart(found),
        )
    )
    write_text(path, page)


def fixed(found: Mapping[str, Any]) -> dict[str, Any]:
    """What every run was tested beside: the base and, of searches, equal parts and best expert."""
    base = {"base": found["base"]} if found["base"] else {}
    return base | found.get("beside", {})  # not kept by studies of before


def arms_chart(found: Mapping[str, Any]) -> str:
    """Every arm with its interval, what it was tested beside in grey: an image within the page."""
    rows = [(name, arm["test"], BLUE) for name, arm in found["arms"].items() if arm["test"]]
    rows = [(name, each, FAINT) for name, each in fixed(found).items()] + rows
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDE[0], 0.9 + 0.3 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        interval_rows(axes, rows)
        if found["judged"]:
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        return svg_uri(figure)


def curves_chart(found: Mapping[str, Any]) -> str | None:
    """Validations over steps: each seed thin, their mean thick; `None` where no run has some."""
    arms = [(name, arm["curves"]) for name, arm in found["arms"].items() if any(arm["curves"])]
    arms = [(name, curves) for name, curves in arms if any(curves.values())]
    if not arms:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=WIDE, layout="constrained")
        axes = figure.add_subplot()
        for (name, curves), colour in zip(arms, cycle(PALETTE), strict=False):
            _draw_curves(axes, name, curves, colour)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        if found["judged"]:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        figure.legend(loc="outside right upper", labelcolor=INK)
        return svg_uri(figure)


def _draw_curves(axes: Axes, name: str, curves: Mapping[Any, Any], colour: str) -> None:
    known = [dict(curve) for curve in curves.values()]
    for values in known:
        axes.plot([*values], [*values.values()], color=colour, alpha=0.3, linewidth=0.9)
    steps = [step for step in known[0] if all(step in values for values in known)]
    means = [fmean(values[step] for values in known) for step in steps]
    # matplotlib leaves a label out of the legend that begins with an underscore.
    axes.plot(steps, means, color=colour, label=name.lstrip("_"))
