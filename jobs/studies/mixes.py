"""Every way to choose among experts for a task that none was trained for, in one table.

    rlpeft compare mixes RECIPE [--seeds 3] [--classifier DIR] [--set section.key=value ...]

Base, each expert, their uniform mixture, two passes (asking the base, or a classifier), and the
few-shot searches with random shooting as their control, all on the same test problems. A seed
decides the shots and the search. Every search is an ordinary run in a folder of its own, so a
comparison that was cut off continues. The recipe is one of `rlpeft adapt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import fmean

from jobs.adapt import Inputs, expert_folders, read_inputs, run
from jobs.library import holding
from rlpeft.choose.strategies import make_strategy
from rlpeft.choose.two_pass import two_pass
from rlpeft.experts.measures import Accuracy, Measure, measure_of, read_measure
from rlpeft.experts.mixture import ExpertSet
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.run import validated
from rlpeft.recipe.scorer import build_scorer
from rlpeft.report.two_pass_chart import write_split
from rlpeft.scoring import score_groups
from rlpeft.terminal import score_shown
from rlpeft.types import Group

SEARCHES = {
    "few-shot, CEM": "cem",
    "few-shot, CMA-ES": "cma",
    "random shooting": "random",
}
SHARED = ("population_size", "iterations", "bounds", "per", "normalise", "folds")
"""Options that all searches have."""

WARM_UP = 8
"""Problems answered before two passes are timed."""

Table = dict[str, list[Measure]]
"""Way to choose -> test accuracy (mean score, if graded), one a seed where seeds matter."""


def compare(
    recipe: AdaptRecipe, out: Path, *, seeds: Sequence[int], classifier: Path | None = None
) -> Table:
    """Run every search with every seed, and judge what needs no search once.

    Args:
        classifier: folder of an expert trained to tell the tasks apart; left out if absent.
    """
    table: Table = {}
    for way, kind in SEARCHES.items():
        for seed in seeds:
            summary = run(variant(recipe, kind, seed), out / f"{kind}-seed{seed}")
            tests = {n: read_measure(found) for n, found in summary["test"].items()}
            table.setdefault(way, []).append(tests.pop("mixed"))
            fixed = {name: [found] for name, found in tests.items()}
    two_passes = judge_two_passes(read_inputs(recipe), classifier, out)
    return fixed | {name: [found] for name, found in two_passes.items()} | table


def variant(recipe: AdaptRecipe, kind: str, seed: int) -> AdaptRecipe:
    """The recipe with another search and seed; options of another kind of search fall away."""
    tree = recipe.model_dump(mode="json")
    is_same = tree["search"]["type"] == kind
    if not is_same:
        tree["search"] = {"type": kind} | {name: tree["search"][name] for name in SHARED}
    tree["seed"], tree["shots"]["seed"] = seed, seed
    return validated(AdaptRecipe, tree, source=f"{recipe.name}, {kind}, seed {seed}")


def judge_two_passes(inputs: Inputs, classifier: Path | None, out: Path) -> dict[str, Measure]:
    """What the test answers are worth where the base, or a classifier, chooses for each problem.

    The seconds of both passes are written to `out`.
    """
    base_digest = inputs.experts.cards[0].base_digest
    folders = expert_folders(inputs.recipe, base_digest) + ([classifier] if classifier else [])
    experts = ExpertSet.read(folders, base_digest=base_digest, factors=inputs.experts.factors)
    problems = inputs.task.split("test")
    sampling = inputs.recipe.rollout.sampling.greedy
    found, split = {}, {}
    with (
        closing(build_scorer(inputs.recipe.rewards)) as scorer,
        holding(experts, inputs.spec, inputs.base) as fleet,
    ):
        for way in ("prompt", "classifier")[: 1 + bool(classifier)]:
            strategy = make_strategy(way, experts, fleet, inputs.prompter)
            ask = partial(
                two_pass,
                strategy=strategy,
                fleet=fleet,
                prompter=inputs.prompter,
                sampling=sampling,
            )
            ask(problems[:WARM_UP])  # untimed: what is set up once belongs to neither pass
            passes = ask(problems)
            groups = [
                Group(problem, inputs.prompter.ids(problem), (completion,))
                for problem, completion in zip(problems, passes.completions, strict=True)
            ]
            found[f"two passes, {way}"] = measure_of(score_groups(groups, scorer, step=0).verdicts)
            split[way] = passes.first_s, passes.second_s
    write_split(split, out)
    return found


def markdown(table: Mapping[str, Sequence[Measure]]) -> str:
    """The table, accuracies in percent; an interval spans the 95 % intervals of all seeds."""
    judged = all(isinstance(each, Accuracy) for found in table.values() for each in found)
    measured = "accuracy" if judged else "score"

    def shown(value: float) -> str:
        return format(100 * value, ".1f") if judged else score_shown(value)

    lines = [
        f"| way to choose | test {measured}, mean | by seed | 95 % interval |",
        "|---|---|---|---|",
    ]
    for way, found in table.items():
        by_seed = ", ".join(shown(each.value) for each in found) if len(found) > 1 else "-"
        low, high = min(each.low for each in found), max(each.high for each in found)
        mean = fmean(each.value for each in found)
        interval = f"{shown(low)} to {shown(high)}"
        lines.append(f"| {way} | {shown(mean)} | {by_seed} | {interval} |")
    return "\n".join(lines)
