"""A skill of two turns: what the base answers wrongly without its tool, learned with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from jobs.bench.rows import BenchRow
from jobs.recipes import read_recipe
from rlpeft.experts.student import interval

RECIPE = "tiny-tools"
SEEDS = (0, 1, 2)
BEFORE, AFTER = 0.6, 0.9
"""At most, and at least: the share of right answers."""


def rows(*, seeds: Sequence[int] = SEEDS) -> Iterator[BenchRow]:
    """Accuracies on the test problems by seed, and without the environment those of as many steps.

    Both learn by the same recipe; the base's are measured beside each expert's.
    """
    from rlpeft.program.run import run

    found: dict[str, list[Mapping[str, Any]]] = {"with": [], "without": []}
    with TemporaryDirectory(prefix="rlpeft-bench-") as folder:
        for seed in seeds:
            recipe = read_recipe(RECIPE, [f"train.seed={seed}", "train.report_to=[]"])
            alone = recipe.model_copy(update={"environment": None})
            for arm, own in {"with": recipe, "without": alone}.items():
                found[arm].append(run(own, Path(folder) / f"{arm}-{seed}"))
    yield skill_row(
        *(_accuracies(found[arm], which) for arm in found for which in ("base_test", "test"))
    )


def _accuracies(runs: Sequence[Mapping[str, Any]], which: str) -> list[float]:
    return [float(summary[which]["value"]) for summary in runs]


def skill_row(
    before: Sequence[float], after: Sequence[float], alone: Sequence[float], taught: Sequence[float]
) -> BenchRow:
    """The figure, of accuracies by seed: with the tool, then without it, before and after."""
    (low, _), ours, peer = interval(after), fmean(after), fmean(before)
    return BenchRow(
        f"accuracy in two turns with a calculator after RL against before, {RECIPE}, {len(after)} "
        f"seeds (95 % interval from {low:.3f}; without the calculator {fmean(alone):.3f} before "
        f"and {fmean(taught):.3f} after as many steps)",
        ours,
        peer,
        ours / peer,
        "",
        "1: every problem",
        f"< {BEFORE} before, >= {AFTER} after",
        max(*before, *alone) < BEFORE and min(after) >= AFTER,
    )
