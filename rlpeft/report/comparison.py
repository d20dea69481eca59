"""Several runs side by side: their curves over each other, what they came to, how they differ.

A page as safe as that of one run (`rlpeft.report.page`). Runs are compared by their one test, and
problem by problem: two intervals that overlap tell nothing, as all runs find the same problems
hard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards.verdict import VerdictKind
from rlpeft.experts.clustered import corrected_level
from rlpeft.experts.files import Expert
from rlpeft.experts.measures import Measure, PairedDifference, paired
from rlpeft.files import write_text
from rlpeft.recipe.run import DEFAULT_REWARDS
from rlpeft.report.asked import require_runs
from rlpeft.report.charts import PALETTE, StepRows, overlay_chart
from rlpeft.report.page import facts, page_environment, read_run
from rlpeft.report.run_charts import Chart
from rlpeft.runs.fingerprint import REWARD_CODE, read_fingerprint
from rlpeft.runs.records import TEST_FILE, read_completions

CURVES = {
    "loss": ("Loss of supervision", "Mean over the completion tokens of a step, in nats."),
    "reward": ("Reward", "Mean over the completions of a step."),
    "eval_accuracy": ("Validation accuracy", "Greedy."),
    "eval_score": ("Validation score", "Greedy."),
    "kl": ("KL", "To the base model, or to where a run started, in nats a token."),
    "entropy": ("Entropy", "Of the policy, in nats a token."),
    "completions/mean_length": ("Length of completions", "Mean, in tokens."),
    "completions/clipped_ratio": ("Cut off by a limit", "Share of completions."),
    "frac_reward_zero_std": ("Groups without signal", "Share of groups."),
    "grad_norm": ("Gradient norm", "Before clipping."),
    "step_time": ("Time of a step", "In seconds."),
}
"""Metric -> title and caption."""

SUPERVISED, PERCENT = "loss", ("eval_accuracy",)
"""The metric that tells nothing of RL, and those that are shares."""

ABSENT = "–"

JUDGING = ("name", "weight", "correct_at", "options")
"""Options of a reward by which a score means something else."""


@dataclass(frozen=True)
class RunRecords:
    """What is known of a run.

    Attributes:
        label: tells it from the others.
        rows: its metrics, a row a step.
        code: the digest of the file of each reward that is not one of ours.
        answers: of its expert to the test problems; none where they were not kept.
    """

    label: str
    folder: Path
    rows: StepRows
    expert: Expert | None
    recipe: Mapping[str, Any]
    code: Mapping[str, str]
    summary: Mapping[str, Any]
    answers: Sequence[Mapping[str, Any]]

    @property
    def measures(self) -> dict[str, Measure | None]:
        """What it came to: of its test, or of its best validation as long as there is none."""
        card = self.expert.card if self.expert else None
        known = ("base_test", "test", "validation")
        return {name: getattr(card, name) if card else None for name in known}


def write_comparison(folders: Sequence[Path], path: Path) -> dict[str, Any]:
    """Write the page of several runs; gives what it says of each, and of each beside the first.

    Raises:
        ConfigError: one run is named twice, or there are too many.
        DataError: a folder holds no records of a run, or damaged ones.
    """
    runs = read_runs(folders)
    beside = {run.label: against(run, runs[0], number=len(runs) - 1) for run in runs[1:]}
    write_text(path, render(runs, beside))
    return {
        "report": str(path),
        "bytes": path.stat().st_size,
        "runs": {
            run.label: {name: found and found.model_dump() for name, found in run.measures.items()}
            for run in runs
        },
        "against_first": {
            label: found if isinstance(found, str) else found.model_dump()
            for label, found in beside.items()
        },
    }


def read_runs(folders: Sequence[Path]) -> list[RunRecords]:
    """The records of each; see `write_comparison`."""
    places = [folder.resolve() for folder in folders]
    require_runs(folders)
    return [_read(folder, label) for folder, label in zip(folders, labels(places), strict=True)]


def _read(folder: Path, label: str) -> RunRecords:
    rows, expert, recipe, summary = read_run(folder)
    path = folder / TEST_FILE
    tested = read_completions(path) if path.exists() else []
    answers = [row for row in tested if row["policy"] == "expert"]
    code = read_fingerprint(folder).get(REWARD_CODE, {})
    return RunRecords(label, folder, rows, expert, recipe, code, summary, answers)


def labels(places: Sequence[Path]) -> list[str]:
    """So much of the end of each path as tells it from the others.

    >>> labels([Path("/a/runs/x"), Path("/b/runs/x"), Path("/b/y")])
    ['a/runs/x', 'b/runs/x', 'y']
    """

    def ending(place: Path) -> str:
        for length in range(1, len(place.parts) + 1):
            end = place.parts[-length:]
            if sum(other.parts[-length:] == end for other in places) == 1:
                return "/".join(end)
        return str(place)

    return [ending(place) for place in places]


def against(run: RunRecords, first: RunRecords, *, number: int) -> PairedDifference | str:
    """A run's expert less the first one's on the problems of both tests, or why not.

    Args:
        number: of such differences, whose intervals hold together.
    """
    for each in (first, run):
        if not each.answers:
            return f"{each.label} has no kept answers: no test yet, or one before version 0.2"
    if judges(run.recipe) != judges(first.recipe):
        return (
            f"{run.label} has other rewards than {first.label}: what two judges say is of two "
            "scales. Evaluate both by one recipe: rlpeft evaluate EXPERT --recipe RECIPE"
        )
    if changed := [n for n, digest in run.code.items() if first.code.get(n, digest) != digest]:
        return (
            f"the code of reward {changed[0]!r} of {run.label} is not that of {first.label}: what "
            "two judges say is of two scales. Evaluate both by one recipe: rlpeft evaluate EXPERT "
            "--recipe RECIPE"
        )
    judged = all(row["verdict"] != VerdictKind.GRADED for row in (*first.answers, *run.answers))
    own, other = (_by_problem(each.answers, judged=judged) for each in (run, first))
    found = paired(own, other, judged=judged, level=corrected_level(number))
    return found or "the tests have no problem in common, by id, prompt and gold answer"


def judges(recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What judges the answers of a run, task after task; how long it may take is not told."""
    task = recipe.get("task")
    sections = task if isinstance(task, list) else [recipe]
    absent = [reward.model_dump() for reward in DEFAULT_REWARDS]
    rewards = [reward for section in sections for reward in section.get("reward") or absent]
    return [{key: reward.get(key) for key in JUDGING} for reward in rewards]


def _by_problem(
    rows: Sequence[Mapping[str, Any]], *, judged: bool
) -> dict[tuple[str, str, str], float]:
    """Of each problem whose answer could be scored: whether it is correct, or its score."""
    return {
        (row["problem"], row["prompt"], row["answer"]): (
            float(row["verdict"] == VerdictKind.CORRECT) if judged else row["reward"]
        )
        for row in rows
        if row["reward"] is not None
    }


def differing(recipes: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The options that are not the same in all: dotted key -> a value of each, as JSON."""
    flat = [dict(_leaves(recipe)) for recipe in recipes]
    keys = dict.fromkeys(key for each in flat for key in each)
    table = {key: [each.get(key, ABSENT) for each in flat] for key in keys}
    return {key: values for key, values in table.items() if len(set(values)) > 1}


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, json.dumps(tree, ensure_ascii=False)


def curves(runs: Sequence[RunRecords]) -> list[Chart]:
    """The figures of all runs over each other, those that one of them has."""
    found = []
    for name, (title, caption) in CURVES.items():
        rows = [_of_loss(run.rows) if name == SUPERVISED else run.rows for run in runs]
        figure = overlay_chart(rows, name, percent=name in PERCENT)
        found += [Chart(title, caption, figure)] if figure else []
    return found


def _of_loss(rows: StepRows) -> StepRows:
    return [row for row in rows if "mean_token_accuracy" in row]


def _source(task: Any) -> str:
    """Where a recipe's problems come from; of several sources, all."""
    if isinstance(task, Mapping):
        return str(task.get("path") or task.get("name"))
    return " + ".join(map(_source, task))


def render(runs: Sequence[RunRecords], beside: Mapping[str, PairedDifference | str]) -> str:
    """The page."""
    sources = {run.label: _source(run.recipe.get("task", {})) for run in runs}
    return (
        page_environment()
        .get_template("comparison.html.jinja")
        .render(
            runs=[
                {
                    "label": run.label,
                    "colour": colour,
                    "source": sources[run.label],
                    "facts": facts(run.rows, run.summary, run.expert.card if run.expert else None),
                    **run.measures,
                }
                for run, colour in zip(runs, PALETTE, strict=False)
            ],
            beside=beside,
            curves=curves(runs),
            sources=sorted(set(sources.values())),
            differing=differing([run.recipe for run in runs]),
        )
    )
