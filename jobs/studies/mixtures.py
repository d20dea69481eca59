"""What searches found: coefficients by task (Transformer², Figure 7), and accuracy by budget
(its Tables 8 and 10), from the cards of mixed experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.box import SIMPLE_HEAD
from rich.table import Table

from rlpeft.errors import ExpertError
from rlpeft.experts.card_parts import Mixture
from rlpeft.experts.files import ExpertCard, find_experts, read_card
from rlpeft.experts.measures import Accuracy, Measure
from rlpeft.files import write_csv
from rlpeft.report.charts import BLUE, FAINT, STYLE, save_svg
from rlpeft.terminal import score_shown

PALETTE = ("#c3cad4", "#2563c9", "#d9731a", "#2f8f4e", "#8f7ac6", "#c8553d", "#e3a857")
"""One colour a parent, the base in grey."""


@dataclass(frozen=True)
class Mixed:
    """One mixed expert.

    Attributes:
        weights: parent -> its share of the mixture: mean coefficient over matrices, divided by
            their sum.
        shots, iterations: the search's budget; 0 where coefficients were given.
    """

    name: str
    task: str
    weights: dict[str, float]
    shots: int
    iterations: int
    test: Measure | None
    base_test: Measure | None

    @property
    def label(self) -> str:
        """How a picture names it."""
        return f"{self.task}, {self.shots} shots"


def read_mixtures(roots: Sequence[Path]) -> list[Mixed]:
    """Every mixed expert at or below some folders.

    Raises:
        ExpertError: there is none.
    """
    cards = [read_card(folder) for root in roots for folder in find_experts(root)]
    found = [_mixed(card, card.mixture) for card in cards if card.mixture is not None]
    if not found:
        raise ExpertError(
            f"there must be a mixed expert at or below {', '.join(map(str, roots))}, there is "
            "none. Make one: rlpeft adapt tiny-mix"
        )
    return sorted(found, key=lambda mixed: (mixed.task, mixed.shots, mixed.iterations))


def _mixed(card: ExpertCard, mixture: Mixture) -> Mixed:
    coefficients = np.array(mixture.coefficients, float).reshape(len(mixture.parents), -1)
    mean_K = coefficients.mean(1)
    config = mixture.search.get("config", {})
    return Mixed(
        card.name,
        str(card.task["name"]),
        dict(zip(mixture.parents, (mean_K / mean_K.sum()).tolist(), strict=True)),
        len(mixture.search.get("shots", ())),
        int(config.get("iterations", 0)),
        card.test,
        card.base_test,
    )


def table(found: Sequence[Mixed]) -> Table:
    """One row a mixture."""
    shown = Table(box=SIMPLE_HEAD)
    parents = _parents(found)
    for heading in ("mixture", "task"):
        shown.add_column(heading, overflow="fold")
    for heading in ("shots", "rounds", *parents, "test", "base test"):
        shown.add_column(heading, justify="right")
    for mixed in found:
        shown.add_row(
            mixed.name,
            mixed.task,
            str(mixed.shots),
            str(mixed.iterations),
            *(f"{mixed.weights.get(parent, 0.0):.2f}" for parent in parents),
            *(_shown(measure) for measure in (mixed.test, mixed.base_test)),
        )
    return shown


def _shown(found: Measure | None) -> str:
    if found is None:
        return "-"
    if isinstance(found, Accuracy):
        return f"{found.value:.1%}"
    return f"score {score_shown(found.value)}"


def _parents(found: Sequence[Mixed]) -> list[str]:
    return list(dict.fromkeys(parent for mixed in found for parent in mixed.weights))


def as_dicts(found: Sequence[Mixed]) -> list[dict[str, Any]]:
    """As JSON takes them."""
    plain = [asdict(mixed) for mixed in found]
    for row, mixed in zip(plain, found, strict=True):
        row["test"] = mixed.test and mixed.test.model_dump()
        row["base_test"] = mixed.base_test and mixed.base_test.model_dump()
    return plain


def write(found: Sequence[Mixed], folder: Path) -> None:
    """Write `mixtures.csv`, `mixtures.svg` and `budget.svg`."""
    parents = _parents(found)
    rows = []
    for mixed in found:
        shares = [mixed.weights.get(parent, 0.0) for parent in parents]
        values = [a and a.value for a in (mixed.test, mixed.base_test)]
        rows.append([mixed.name, mixed.task, mixed.shots, mixed.iterations, *shares, *values])
    header = ["mixture", "task", "shots", "iterations", *parents, "test", "base_test"]
    write_csv(folder / "mixtures.csv", header, rows)
    with matplotlib.rc_context(STYLE):
        _draw_shares(found, parents, folder / "mixtures.svg")
        _draw_budget(found, folder / "budget.svg")


def _draw_shares(found: Sequence[Mixed], parents: Sequence[str], path: Path) -> None:
    figure = Figure(figsize=(6.4, 1.0 + 0.42 * len(found)), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(found))
    for k, parent in enumerate(parents):
        shares = np.array([mixed.weights.get(parent, 0.0) for mixed in found])
        colour = PALETTE[k % len(PALETTE)]
        axes.barh(range(len(found)), shares, left=left, color=colour, label=parent)
        left += shares
    axes.set_yticks(range(len(found)), [mixed.label for mixed in found])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of each parent in the mixture")
    figure.legend(loc="outside upper center", ncols=min(len(parents), 6))
    save_svg(figure, path)


def _draw_budget(found: Sequence[Mixed], path: Path) -> None:
    figure = Figure(figsize=(8.4, 2.9), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    _scatter(panels[0], [mixed.shots for mixed in found], found, "shots")
    _scatter(panels[1], [mixed.iterations for mixed in found], found, "iterations of the search")
    panels[0].set_ylabel("test accuracy")
    save_svg(figure, path)


def _scatter(axes: Axes, budget: Sequence[int], found: Sequence[Mixed], label: str) -> None:
    """Accuracy with its interval against a budget; the base's is a grey mark.

    Mean scores have another unit and are left out; the table has them.
    """
    for x, mixed in zip(budget, found, strict=True):
        for accuracy, colour in ((mixed.base_test, FAINT), (mixed.test, BLUE)):
            if isinstance(accuracy, Accuracy):
                axes.plot([x, x], [accuracy.low, accuracy.high], color=colour, linewidth=1)
                axes.plot(x, accuracy.value, "o", color=colour, markersize=4)
    axes.set_xlabel(label)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
