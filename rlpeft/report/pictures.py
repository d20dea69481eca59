"""The charts of a run's report as images, for trackers that show them."""

from __future__ import annotations

from pathlib import Path

from PIL.Image import Image

from rlpeft.report.charts import pixels
from rlpeft.report.page import read_run
from rlpeft.report.run_charts import answer_charts, change_of, learning_charts, trust_charts


def pictures(folder: Path) -> dict[str, Image]:
    """By title.

    Raises:
        DataError: the folder holds no records of a run, or damaged ones.
    """
    rows, expert, _, _ = read_run(folder)
    charts = [
        *learning_charts(rows),
        *answer_charts(rows, folder, expert.card if expert else None),
        *trust_charts(rows),
        *change_of(expert).charts,
    ]
    return {chart.title: pixels(chart.figure) for chart in charts if chart.figure is not None}
