"""The form of a measured figure, and how both sides of it are timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from jobs.command import quiet_libraries


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One figure.

    Attributes:
        figure: what was measured, and on what.
        ours, peer: the two sides, in `unit`.
        ratio: what `goal` speaks of.
        floor: what arithmetic or memory allows at best, with the reason.
        goal: in words, such as "<= 1.5 x".
        met: whether `ratio` meets it.
    """

    figure: str
    ours: float
    peer: float
    ratio: float
    unit: str
    floor: str
    goal: str
    met: bool


def interleave(sides: Mapping[str, Callable[[], Any]], *, repeats: int) -> dict[str, list[float]]:
    """Seconds of each side, `repeats` times in turn, after one untimed round.

    In turn, so that a machine which slows down slows both sides.
    """
    for run in sides.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def apart(measure: Callable[..., list[BenchRow]], **options: Any) -> list[BenchRow]:
    """Rows measured in a process of its own, which gives its memory back when it ends.

    Learners leave gigabytes with the allocator that the engines of the next rows need.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=quiet_libraries) as pool:
        return pool.submit(measure, **options).result()


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Median of each side."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def table(rows: Sequence[BenchRow]) -> Table:
    """The rows as a person reads them."""
    shown = Table(box=SIMPLE_HEAD, show_lines=True)
    shown.add_column("figure", overflow="fold")
    for name in ("ours", "peer", "ratio"):
        shown.add_column(name, justify="right")
    shown.add_column("floor")
    shown.add_column("goal, met?")
    for row in rows:
        met = f"{row.goal}\n[green]yes[/]" if row.met else f"{row.goal}\n[red]no[/]"
        ours, peer = (f"{value:.4g}\n{row.unit}" for value in (row.ours, row.peer))
        shown.add_row(row.figure, ours, peer, f"{row.ratio:.3g}", row.floor, met)
    return shown


def as_dicts(rows: Sequence[BenchRow]) -> list[dict[str, Any]]:
    """The rows as JSON objects."""
    return [asdict(row) for row in rows]
