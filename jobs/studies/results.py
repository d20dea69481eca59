"""What a run of a study left behind, as figures need it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewards.verdict import VerdictKind
from rlpeft.experts.files import EXPERT_FOLDER, read_card
from rlpeft.files import read_json
from rlpeft.report.comparison import judges
from rlpeft.runs.fingerprint import SUMMARY_FILE
from rlpeft.runs.records import (
    METRICS_FILE,
    RECIPE_FILE,
    TEST_FILE,
    read_completions,
    read_metrics,
)

RESULT_FILE = "cell.json"
"""Written last into a run's folder: with it the run is finished."""

KEPT = (RESULT_FILE, SUMMARY_FILE, METRICS_FILE, TEST_FILE, RECIPE_FILE, EXPERT_FOLDER)
"""What a study keeps of a run that another machine has done."""

OURS = {"train": "expert", "sft": "expert", "adapt": "mixed"}
"""Which of the policies that a run tests is what it made."""

ProblemKey = tuple[str, str, int]
"""A problem by its prompt, its gold answer, and which of several that have both the same."""


@dataclass(frozen=True)
class Result:
    """One finished run.

    Attributes:
        validation: of the expert that was kept; `None` where a run has none.
        values: policy -> problem -> what its answer is worth; without what could not be scored.
        judged: whether answers are right (1) or wrong (0); else values are scores.
        curve: (step, validation) in order of steps.
        facts: parameters, bytes of a sync, seconds of all steps; of a search none.
        judges: the rewards that its answers were judged by.
        equals_base: whether it kept the base model, since nothing did better.
        error: why it failed, if it did; nothing else is known then.
    """

    validation: float | None = None
    values: Mapping[str, Mapping[ProblemKey, float]] = field(default_factory=dict)
    judged: bool = True
    curve: Sequence[tuple[int, float]] = ()
    facts: Mapping[str, float | None] = field(default_factory=dict)
    judges: Sequence[Mapping[str, Any]] = ()
    equals_base: bool = False
    error: str = ""


def read_result(folder: Path) -> Result:
    """The result of a run whose folder has a `cell.json`.

    Raises:
        DataError, ExpertError, FileError: a file of it is damaged or gone.
    """
    told = read_json(folder / RESULT_FILE, mend="Delete it: the run is then looked at again.")
    if told["error"]:
        return Result(error=told["error"])
    answers, steps = read_completions(folder / TEST_FILE), read_metrics(folder)
    judged = all(row["verdict"] != VerdictKind.GRADED for row in answers)
    card = read_card(folder / EXPERT_FOLDER)
    summary = read_json(folder / SUMMARY_FILE, mend="Delete cell.json: it is made anew.")
    metric = "eval_accuracy" if judged else "eval_score"
    return Result(
        validation=None if card.validation is None else card.validation.value,
        values=values_of(answers, judged=judged),
        judged=judged,
        curve=[(row["step"], row[metric]) for row in steps if row.get(metric) is not None],
        facts={
            "parameters": summary.get("trainable_parameters"),
            "sync_bytes": summary.get("sync_bytes"),
            "seconds": sum(row.get("step_time") or 0.0 for row in steps) or None,
        },
        judges=judges(read_json(folder / RECIPE_FILE, mend="Delete cell.json: it is made anew.")),
        equals_base=summary["equals_base"],
    )


def values_of(
    answers: Sequence[Mapping[str, Any]], *, judged: bool
) -> dict[str, dict[ProblemKey, float]]:
    """Policy -> problem -> what its answer is worth; without what could not be scored.

    Args:
        answers: rows with `policy`, `prompt`, `answer`, `verdict` and `reward`.
    """
    found: dict[str, dict[ProblemKey, float]] = {}
    met: Counter[tuple[str, str, str]] = Counter()
    for row in answers:
        problem = row["policy"], row["prompt"], row["answer"]
        key = (*problem[1:], met[problem])
        met[problem] += 1
        if row["reward"] is None:
            continue
        value = float(row["verdict"] == VerdictKind.CORRECT) if judged else row["reward"]
        found.setdefault(row["policy"], {})[key] = value
    return found
