"""How the time of two passes divides (Transformer², arXiv 2501.06252, Table 3): CSV and picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from rlpeft.files import write_csv
from rlpeft.report.charts import BLUE, FAINT, STYLE, save_svg

HEADER = ("strategy", "first_s", "second_s", "first_share")


def write_split(split: Mapping[str, tuple[float, float]], folder: Path) -> None:
    """Write `passes.csv` and `passes.svg`.

    Args:
        split: strategy -> seconds of its first and of its second pass, over the whole set.
    """
    rows = [[name, *passes, first_share(*passes)] for name, passes in split.items()]
    write_csv(folder / "passes.csv", HEADER, rows)
    names = list(split)
    firsts, seconds = zip(*split.values(), strict=True)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 1.2 + 0.4 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.barh(names, firsts, color=BLUE, label="choosing (first pass)")
        ends = axes.barh(names, seconds, left=firsts, color=FAINT, label="answering (second pass)")
        shares = [f"{100 * first_share(*passes):.0f} %" for passes in split.values()]
        axes.bar_label(ends, shares, padding=3)  # within a short bar it could not be read
        axes.margins(x=0.1)
        axes.set_axisbelow(True)
        axes.invert_yaxis()
        axes.set_xlabel("seconds")
        figure.legend(loc="outside upper center", ncols=2)
        save_svg(figure, folder / "passes.svg")


def first_share(first_s: float, second_s: float) -> float:
    """Seconds of the first pass over those of the second, as the paper prints it."""
    return first_s / second_s
