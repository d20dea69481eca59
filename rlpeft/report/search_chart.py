"""The picture of a search: accuracy on the shots and spread of the population, by iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from rlpeft.report.charts import BLUE, FAINT, ORANGE, STYLE, save_svg


def draw_history(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the picture; the last stage alone, which saw all shots."""
    rows = [row for row in history if row["stage"] == history[-1]["stage"]]
    iterations = range(1, len(rows) + 1)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(iterations, [row["best"] for row in rows], color=BLUE, label="best so far")
        left.plot(iterations, [row["mean"] for row in rows], color=FAINT, label="mean of all tried")
        graded = any(row.get("graded") for row in rows)
        if not graded:
            left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        left.set_title(f"{'mean score' if graded else 'accuracy'} on the shots")
        left.legend()
        right.plot(iterations, [row["spread"] for row in rows], color=ORANGE)
        right.set_title("standard deviation of the coefficients")
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.set_xlabel("iteration")
        save_svg(figure, path)
