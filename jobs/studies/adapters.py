"""Do geometric adapters help? LoRA, DoRA, HypLoRA and MoSLoRA on one recipe, several seeds.

    rlpeft compare adapters RECIPE [--by sft|rl] [--seeds 3] [--ratio 2] [--set KEY=VALUE]

All have LoRA's rank and modules; MoSLoRA never has more parameters, DoRA and HypLoRA a few more
(one magnitude a row, two scalars a module). Each one's alpha is tuned first, on the first seed and
validation problems alone: a larger alpha is a larger step, and would be taken for a better method.
Every run has a folder of its own and is not run twice, so a comparison that was cut off continues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rlpeft.errors import ConfigError
from rlpeft.experts.student import interval
from rlpeft.recipe.run import Recipe

ADAPTERS = ("lora", "dora", "hyplora", "moslora")
RATIOS = (1.0, 2.0, 4.0, 8.0)
"""alpha / rank among which each adapter's is chosen."""

Train = Callable[[Recipe, Path], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Score:
    """Test accuracy of one adapter over seeds.

    Attributes:
        accuracies: one a seed, in the order of the seeds.
        against_lora: the same, minus LoRA's of the same seed.
    """

    name: str
    alpha: float
    parameters: int
    accuracies: tuple[float, ...]
    against_lora: tuple[float, ...]


def compare(
    recipe: Recipe,
    out: Path,
    *,
    train: Train,
    seeds: Sequence[int],
    ratios: Sequence[float] = RATIOS,
) -> list[Score]:
    """Train every adapter with every seed.

    Args:
        recipe: its adapter's rank, targets and layers are those of all.
        train: one run, in a folder that it may continue.
        ratios: alpha / rank among which each adapter's is chosen; one is no choice.

    Raises:
        ConfigError: the recipe's adapter has no rank.
    """
    adapter = recipe.adapter.model_dump()
    if "rank" not in adapter:
        raise ConfigError(
            f"adapter.type must be one of {', '.join(ADAPTERS)} to be compared, got "
            f"{adapter['type']!r}. Add --set adapter.type=lora."
        )
    shared = {option: adapter[option] for option in ("targets", "layers", "rank")}

    def run(name: str, alpha: float, seed: int) -> Mapping[str, Any]:
        section = {"type": name, "alpha": alpha, **shared}
        return train(variant(recipe, section, seed), out / f"{name}-alpha{alpha:g}-seed{seed}")

    alphas = [ratio * adapter["rank"] for ratio in sorted(ratios)]
    scores: list[Score] = []
    for name in ADAPTERS:  # LoRA first: the others are measured against it
        validated = {alpha: run(name, alpha, seeds[0])["validation"] for alpha in alphas}
        best = max(validated, key=lambda alpha: validated[alpha])  # the smallest of equals
        runs = [run(name, best, seed) for seed in seeds]
        accuracies = tuple(found["test"]["value"] for found in runs)
        lora = scores[0].accuracies if scores else accuracies
        against = tuple(a - b for a, b in zip(accuracies, lora, strict=True))
        scores.append(Score(name, best, runs[0]["trainable_parameters"], accuracies, against))
    return scores


def variant(recipe: Recipe, adapter: Mapping[str, Any], seed: int) -> Recipe:
    """The recipe with another adapter and seed."""
    tree = recipe.model_dump(mode="json")
    tree["adapter"], tree["train"]["seed"] = dict(adapter), seed
    return Recipe.model_validate(tree)


def train_one(recipe: Recipe, folder: Path, *, by: str) -> Mapping[str, Any]:
    """One run in this process; its summary, with the best validation accuracy."""
    from jobs import sft, train
    from rlpeft.runs.records import read_metrics

    summary = sft.run(recipe, folder) if by == "sft" else train.run(recipe, folder, ray=False)
    rows = read_metrics(folder)
    validated = [row["eval_accuracy"] for row in rows if "eval_accuracy" in row]
    if not validated or "correct" not in summary["test"]:
        raise ConfigError(
            "adapters are compared by accuracy, the rewards of this recipe give scores alone. Set "
            "reward.correct_at, from which an answer is correct."
        )
    best = max(validated)
    return {**summary, "validation": best}


def table(scores: Sequence[Score]) -> str:
    """The scores as a Markdown table, in percent."""
    lines = [
        "| adapter | alpha | parameters | test accuracy | by seed | minus LoRA | 95 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    for score in scores:
        seeds = ", ".join(f"{100 * value:.1f}" for value in score.accuracies)
        difference, (low, high) = fmean(score.against_lora), interval(score.against_lora)
        against = f"{100 * difference:+.1f} | {100 * low:+.1f} to {100 * high:+.1f}"
        cells = (
            score.name,
            f"{score.alpha:g}",
            f"{score.parameters:,}",
            f"{100 * fmean(score.accuracies):.1f}",
            seeds,
            "- | -" if score.name == "lora" else against,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
