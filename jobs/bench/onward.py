"""What it is worth to go on from something: SFT then RL, against RL alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from jobs.bench.rows import BenchRow
from jobs.recipes import read_recipe
from rlpeft.experts.student import interval
from rlpeft.recipe.run import Recipe

RECIPE, SFT_STEPS, RL_STEPS = "quickstart", 10, 10
"""Few steps: sixty of RL alone teach the skill to the end, and leave nothing to compare."""

SEEDS = (0, 1, 2, 3, 4)


def rows(*, seeds: Sequence[int] = SEEDS) -> Iterator[BenchRow]:
    """Accuracies on the test problems by seed, of as many steps of RL from either beginning."""
    from jobs.sft import run as teach

    alone, onward = [], []
    with TemporaryDirectory(prefix="rlpeft-bench-") as folder:
        for seed in seeds:
            root = Path(folder) / str(seed)
            alone.append(_accuracy(_recipe(seed, RL_STEPS), root / "alone"))
            teach(_recipe(seed, SFT_STEPS), root / "taught")
            start = _recipe(seed, RL_STEPS, f"model.start={str(root / 'taught/expert')!r}")
            onward.append(_accuracy(start, root / "onward"))
    yield _row(alone, onward)


def _recipe(seed: int, steps: int, *settings: str) -> Recipe:
    sizes = (f"train.seed={seed}", f"train.steps={steps}", f"train.eval_every={steps}")
    return read_recipe(RECIPE, [*sizes, "train.report_to=[]", *settings])


def _accuracy(recipe: Recipe, out: Path) -> float:
    from jobs.train import run

    summary: dict[str, Any] = run(recipe, out, ray=False)
    return float(summary["test"]["value"])


def _row(alone: Sequence[float], onward: Sequence[float]) -> BenchRow:
    (_, high), (low, _) = interval(alone), interval(onward)
    ours, peer = fmean(onward), fmean(alone)
    return BenchRow(
        f"accuracy of {RL_STEPS} steps of RL after {SFT_STEPS} of SFT, against {RL_STEPS} of RL "
        f"alone, tiny, {len(alone)} seeds (95 % intervals from {low:.3f} and to {high:.3f})",
        ours,
        peer,
        ours / peer,
        "",
        "1: every problem",
        "above, intervals apart",
        low > high,
    )
