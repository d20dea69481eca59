"""What a person sees of an evaluation of several: how far it is, and a table for each task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jobs.cli.closing import SPREAD, base_called, left_out
from jobs.cli.console import INTERRUPTED
from jobs.cli.screen import Screen
from rlpeft.experts.card_parts import BASE
from rlpeft.terminal import near_path
from rlpeft.typed import this_command

ONE_OF = "pass@1"
"""The same share as that of all samples: it has no column of its own."""

BESIDE = 2
"""Metrics beside the leading one and its interval; more of them stand in a table below."""


@contextmanager
def survey_shown(out: Path | None) -> Iterator[Callable[[int, int], None]]:
    """A line of progress on the error stream; after Ctrl-C, how to go on."""
    console = Screen(stderr=True)
    columns = TextColumn("batch"), MofNCompleteColumn(), BarColumn(20), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=None)

        def told(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        try:
            yield told
        except KeyboardInterrupt:
            progress.stop()
            kept = f"to go on from the last batch: {this_command()}"
            line = kept if out is not None else "nothing was kept: --out DIR keeps what is answered"
            console.print(f"stopped; {line}", markup=False, highlight=False, soft_wrap=True)
            raise SystemExit(INTERRUPTED) from None


def survey_tables(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Tables for each task, and what holds of all."""
    for name, task in found["tasks"].items():
        yield _leading_table(name, task, found)
        if more := _others(task)[_beside_it(task) :]:
            yield _further_table(task, more)
    yield Text(_notes(found))


def _leading_table(name: str, task: Mapping[str, Any], found: Mapping[str, Any]) -> Table:
    lead, others = task["metrics"][0], _others(task)[: _beside_it(task)]
    number = found["samples"]
    drawn = f", {number} samples at temperature {found['temperature']:g}" if number > 1 else ""
    title = f"{near_path(name)}: {task['problems']} {found['split']} problems{drawn}"
    called = f"{lead} = {ONE_OF}" if ONE_OF in task["metrics"] else lead
    table = _table([called, "95 % interval", *others, "against base"], title=title)
    same = [who for who, expert in found["experts"].items() if expert.get("equals_base")]
    for who, row in task["results"].items():
        value, low, high = _lead(row[lead], task)
        who = _base(found) if who == BASE else who
        figures = [_percent(row[metric]["value"]) for metric in others]
        beside = _beside(row, task, who in same)
        table.add_row(near_path(who), value, f"{low} to {high}", *figures, beside)
    return table


def _base(found: Mapping[str, Any]) -> str:
    """What to call the base, which all experts have in common."""
    return base_called(BASE, next(iter(found["experts"].values()), {}))


def _others(task: Mapping[str, Any]) -> Sequence[str]:
    """The metrics beside the leading one."""
    return [metric for metric in task["metrics"][1:] if metric != ONE_OF]


def _beside_it(task: Mapping[str, Any]) -> int:
    """How many of them its table has room for."""
    return BESIDE - (ONE_OF in task["metrics"])


def _further_table(task: Mapping[str, Any], metrics: Sequence[str]) -> Table:
    table = _table(metrics)
    for who, row in task["results"].items():
        table.add_row(near_path(who), *(_percent(row[each]["value"]) for each in metrics))
    return table


def _table(headings: Sequence[str], title: str | None = None) -> Table:
    above = None if title is None else Text(title, style="bold")
    table = Table(title=above, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _beside(row: Mapping[str, Any], task: Mapping[str, Any], is_base: bool) -> str:
    from rlpeft.experts.measures import shown_difference

    if "against_base" not in row:
        return ""
    if is_base:
        return "is the base"
    numbers = (row["against_base"][name] for name in ("value", "low", "high"))
    value, low, high = shown_difference(*numbers, judged=task["judged"])
    return f"{value} ({low} to {high})"


def _lead(own: Mapping[str, float], task: Mapping[str, Any]) -> Sequence[str]:
    """The leading metric with its interval; others there are of accuracies alone."""
    from rlpeft.experts.measures import shown

    numbers = own["value"], own["low"], own["high"]
    return [_percent(each) for each in numbers] if task["judged"] else shown(*numbers)


def _percent(value: float) -> str:
    return format(100 * value, ".1f")


def _notes(found: Mapping[str, Any]) -> str:
    """What the tables do not say of themselves."""
    lines = []
    if any(task["judged"] for task in found["tasks"].values()):
        lines.append("Accuracies are in percent.")
    if not all(task["judged"] for task in found["tasks"].values()):
        lines.append(" ".join(SPREAD.split()))
    lines.append("Each problem counts once; differences are paired by problem.")
    if (number := found["comparisons"]) > 1:
        lines.append(f"The intervals of all {number} differences hold together at 95 %.")
    for name, task in found["tasks"].items():
        whose = f"{near_path(name)}, " * (len(found["tasks"]) > 1)
        lines += [f"{whose}{line}" for line in left_out(task["results"])]
    within, across = (found["asked_again"][where] for where in ("within", "across"))
    if within:
        lines.append(
            f"{within} problems ask word for word what another of their task asks: intervals take "
            "each for one of its own, and may be too narrow."
        )
    if across:
        lines.append(
            f"{across} prompts stand in several tasks: the intervals of each task hold, but their "
            "figures are not independent of one another."
        )
    if found["samples"] > 1:
        said: dict[str, list[str]] = {}
        for name, task in found["tasks"].items():
            if task["judged"]:
                said.setdefault(task["majority"], []).append(near_path(name))
        for majority, tasks in sorted(said.items()):
            whose = f" of {', '.join(tasks)}" if len(said) > 1 else ""
            lines.append(f"maj@{found['samples']}{whose}: {majority}.")
    return "\n".join(lines)
