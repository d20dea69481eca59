"""What a finished run or evaluation ends with: what was measured, and what that says."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.cli.screen import Screen
from rlpeft.terminal import labelled, near_path, paragraph, terminal_width
from rlpeft.typed import typeable

SPREAD = "Intervals of mean scores follow their spread\nand their scale."
EQUAL_SCORES = "Of equal scores the interval is what so few\nproblems may have missed by chance."
ZEROS = "Of zeros alone the scale is taken for 0 to 1."
"""Under a table of scores: what its intervals are, and what no spread of the scores explains."""

LEFT_OUT = "{}: {} of {} answers failed to be scored."
"""Under a table, of what it does not count."""

MORE = "Train longer, with another learner.lr, or with a reward that tells its answers apart."
EQUALS_START = f"It is the expert that it started from: no step did better in validation. {MORE}"
TAUGHT_NOTHING = (
    "The expert is the {}, which never moved: in no step did an answer get another score "
    "than those it was compared with. Take a reward that tells answers apart, or problems that are "
    "sometimes solved."
)
ENDED_BY_LIMIT = (
    "The expert kept is where training began. Most conversations of its steps were ended by {}, "
    "and not by the environment: raise it, or look whether the environment says done."
)
EQUALS_BASE = f"The expert kept is the {{}}: no step did better in validation than step 0. {MORE}"
"""Said where a run has found nothing."""


def print_closing(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print `closing`; paths and commands are never broken, so that they can be copied."""
    width = terminal_width() if console is None else console.width
    (console or Screen()).print(closing(summary, width=width), soft_wrap=True)


def closing(summary: Mapping[str, Any], *, width: int) -> RenderableType:
    """What a finished run ends with.

    Args:
        summary: what `summary.json` of the run folder holds.
        width: columns that sentences and lists are broken to.
    """
    tasks = summary.get("tasks", {})  # of several; runs of before had one
    over_all, base = ", all tasks" * bool(tasks), base_called("base", summary)
    return Group(
        Text(),
        *(part for label in tasks for part in _of_task(label, summary, width)),
        accuracy_table(_measured(summary, base), title=f"{summary['name']}: test {{}}{over_all}"),
        Text(paragraph(_sentence(summary), width=width)),
        Text(),
        _facts(summary, width),
    )


def base_called(base: str, summary: Mapping[str, Any]) -> str:
    """What to call the base of a run, or of an expert that was evaluated."""
    from rlpeft.experts.card_parts import Parent, with_merged

    return with_merged(base, map(Parent.model_validate, summary.get("merged", ())))


def _measured(found: Mapping[str, Any], base: str) -> dict[str, Any]:
    kinds = {base: "base_test", "start": "start_test", "expert": "test"}
    return {name: found[key] for name, key in kinds.items() if found.get(key) is not None}


def _of_task(label: str, summary: Mapping[str, Any], width: int) -> tuple[RenderableType, ...]:
    """One of several tasks."""
    from rlpeft.experts.measures import ITSELF

    found = summary["tasks"][label]
    base = base_called("base", summary)
    itself = summary.get("equals_base")
    said = ITSELF if itself else compared(found["against_base"], f"its {base}")
    table = accuracy_table(_measured(found, base), title=f"{label}: test {{}}")
    return table, Text(paragraph(said, width=width)), Text()


def accuracy_table(accuracies: Mapping[str, Mapping[str, Any]], *, title: str) -> Table:
    """Accuracies, or mean scores, with their 95 % intervals, a row each.

    Args:
        title: `{}` in it stands for what was measured.
    """
    from rlpeft.experts.measures import shown

    judged = all("correct" in found for found in accuracies.values())
    measured = "accuracy" if judged else "mean score"
    table = Table(
        title=Text(title.replace("{}", measured), style="bold"),
        title_justify="left",
        caption="\n".join((*_of_intervals(accuracies), *left_out(accuracies))) or None,
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    for heading in ("", measured, "95 % interval", "correct" if judged else "scored"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, found in accuracies.items():
        numbers = [found[key] for key in ("value", "low", "high")]
        value, low, high = (f"{n:.1%}" for n in numbers) if judged else shown(*numbers)
        count = f"{found['correct']} of {found['total']}" if judged else f"{found['total']}"
        table.add_row(Text(name), value, f"{low} to {high}", count)
    return table


def _of_intervals(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the intervals of mean scores are; nothing of accuracies, whose are Wilson's."""
    from rlpeft.experts.measures import MeanScore, read_measure

    scores = [m for m in map(read_measure, measured.values()) if isinstance(m, MeanScore)]
    lines = {
        SPREAD: bool(scores),
        EQUAL_SCORES: any(score.are_equal for score in scores),
        ZEROS: any(score.are_equal and not score.value for score in scores),
    }
    return [line for line, holds in lines.items() if holds]


def left_out(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Whose answers an environment or a reward failed on, and how many."""
    from rewards.scorer import FAILURES

    kinds = {name: found.get("verdicts", {}) for name, found in measured.items()}
    failed = {name: sum(of.get(kind, 0) for kind in FAILURES) for name, of in kinds.items()}
    return [
        LEFT_OUT.format(name, number, sum(kinds[name].values()))
        for name, number in failed.items()
        if number
    ]


def compared(
    against: Mapping[str, Any] | None, called: str = "its base", ours: str = "expert"
) -> str:
    """What a difference that was paired by problem says, in one sentence.

    Args:
        against: a `PairedDifference`; absent in summaries from before it was kept, or where no
            problem has scored answers of both.
        called: what the expert is compared with.
    """
    from rlpeft.experts.measures import PairedDifference

    if against is None:
        return f"Its difference from {called} is not known here; rlpeft evaluate measures it."
    return PairedDifference(**against).said(called, ours)


def found_nothing(summary: Mapping[str, Any]) -> bool:
    """Whether a run ended where it began."""
    return bool(summary.get("equals_base") or summary.get("equals_start"))


def _sentence(summary: Mapping[str, Any]) -> str:
    if found_nothing(summary) and (limit := summary.get("ended_by")):
        return ENDED_BY_LIMIT.format(limit)
    if summary.get("equals_base"):
        said = TAUGHT_NOTHING if summary.get("teaching_groups") == 0 else EQUALS_BASE
        return said.format(base_called("base model", summary))
    found = compared(summary.get("against_base"), base_called("its base", summary))
    if "start_test" not in summary:
        return found
    if summary["equals_start"]:
        return f"{found} {EQUALS_START}"
    return f"{found} {compared(summary.get('against_start'), 'its start')}"


def _facts(summary: Mapping[str, Any], width: int) -> Group:
    form = summary.get("export_format", "merged")  # runs of before had no other
    expert, report = near_path(summary["expert"]), summary.get("report")
    out = shlex.quote(f"{Path(summary['expert']).absolute().parent.name}-{form}")  # of this run
    export = f"rlpeft export {shlex.quote(expert)} --format {form} --out {out}"
    rows = {
        "adapted modules": _counts(summary.get("modules")),
        "left out": _counts(summary.get("left_out")),
        "trainable parameters": f"{summary['trainable_parameters']:,}",
        "weight sync": _sync_text(summary["sync_bytes"], summary["sync_ms"]),
        "best step": str(summary["best_step"]),
        "expert": expert,
        "report": None if report is None else near_path(report),
        # What is the base, or the start, already needs no export.
        "next": None if found_nothing(summary) else typeable(export),
    }
    return Group(*(_fact(name, value, width) for name, value in rows.items() if value is not None))


def _fact(name: str, value: str, width: int) -> Text:
    whole = name in ("expert", "report", "next")
    text = Text(labelled(name, value, column=22, width=width, whole=whole))
    text.stylize("dim", 0, len(name))
    return text


def _counts(kinds: Mapping[str, int] | None) -> str | None:
    return ", ".join(f"{kind} {count}" for kind, count in kinds.items()) if kinds else None


def _sync_text(num_bytes: int, milliseconds: float | None) -> str:
    time = "" if milliseconds is None else f" in {milliseconds:.1f} ms"
    return f"{num_bytes:,} bytes{time}"
