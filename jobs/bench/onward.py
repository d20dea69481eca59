"""What it is worth to go on from something: SFT then RL, against RL alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

SEEDS = (0, 1, 2)


def rows(*, seeds: Sequence[int] = SEEDS) -> Iterator[BenchRow]:
    """Accuracies on the test problems by seed, of as many steps of RL from either beginning."""
    from jobs.sft import run as teach
    from rlpeft.program.run import run as train

    alone, taught, onward = [], [], []
    with TemporaryDirectory(prefix="rlpeft-bench-") as folder:
        for seed in seeds:
            root = Path(folder) / str(seed)
            alone.append(_accuracy(train(_recipe(seed, RL_STEPS), root / "alone")))
            taught.append(_accuracy(teach(_recipe(seed, SFT_STEPS), root / "taught")))
            start = f"model.start={str(root / 'taught/expert')!r}"
            begun = _recipe(seed, RL_STEPS, start)
            onward.append(_accuracy(train(begun, root / "onward")))
    yield _row(alone, taught, onward)


def _recipe(seed: int, steps: int, *settings: str) -> Recipe:
    sizes = (f"train.seed={seed}", f"train.steps={steps}", f"train.eval_every={steps}")
    return read_recipe(RECIPE, [*sizes, "train.report_to=[]", *settings])


def _accuracy(summary: Mapping[str, Any]) -> float:
    return float(summary["test"]["value"])


def _row(alone: Sequence[float], taught: Sequence[float], onward: Sequence[float]) -> BenchRow:
    (_, high), (low, _) = interval(alone), interval(onward)
    ours, peer = fmean(onward), fmean(alone)
    return BenchRow(
        f"accuracy of {RL_STEPS} steps of RL after {SFT_STEPS} of SFT, against {RL_STEPS} of RL "
        f"alone, tiny, {len(alone)} seeds (95 % intervals from {low:.3f} and to {high:.3f}; "
        f"SFT alone {fmean(taught):.3f})",
        ours,
        peer,
        ours / peer,
        "",
        "1: every problem",
        "above, intervals apart",
        low > high,
    )
