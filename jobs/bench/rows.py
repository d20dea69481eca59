"""The form of a measured figure, and how both sides of it are timed."""

from __future__ import annotations

import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rlpeft.errors import EngineError
from rlpeft.terminal import quiet_libraries

HEADER = ("ours", "peer", "ratio", "floor", "goal", "met")


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


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Median of each side."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def apart(
    measure: Callable[[], Iterable[BenchRow]], *, log: Path | None = None
) -> Iterator[BenchRow]:
    """Rows as they are measured, in a process of its own, which gives its memory back at its end.

    Learners leave gigabytes with the allocator that the engines of the next rows need.

    Args:
        measure: a module's function, or a `functools.partial` of one.
        log: takes what the process and its children print; if absent, it goes where ours goes.

    Raises:
        EngineError: the process died.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(theirs, log, measure))
    child.start()
    theirs.close()  # so that the child's death ends the pipe
    try:
        while (sent := ours.recv()) is not None:
            if isinstance(sent, Exception):
                raise sent
            yield sent
    except EOFError:
        raise EngineError(
            "a bench must measure to its end, its process died: for want of memory, most likely. "
            "Close other programs and run it again."
        ) from None
    finally:
        ours.close()  # whoever stops listening must not leave it waiting to be heard
        child.join()


def rows_of(name: str) -> Iterator[BenchRow]:
    """Rows of a bench by its name; what it needs is imported here."""
    yield from import_module(f"jobs.bench.{name}").rows()


def _send(results: Connection, log: Path | None, measure: Callable[[], Iterable[BenchRow]]) -> None:
    """Each row, then `None`; or what went wrong."""
    if log is not None:
        _print_into(log)
    quiet_libraries()
    try:
        for row in measure():
            results.send(row)
        results.send(None)
    except Exception as error:
        error.add_note(traceback.format_exc())
        results.send(error)


def _print_into(log: Path) -> None:
    """Both outputs of this process, and of all that it starts."""
    with log.open("ab") as file:
        for output in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), output.fileno())


def table(rows: Sequence[BenchRow], *, header: bool = True) -> RenderableType:
    """The rows as a person reads them: what was measured, and its numbers below.

    Tables of one width fit under one another.
    """
    lines: list[RenderableType] = [_line(*HEADER, style="bold")] if header else []
    for row in rows:
        ours, peer = (f"{_short(value)} {row.unit}".rstrip() for value in (row.ours, row.peer))
        met = "[green]yes[/]" if row.met else "[red]no[/]"
        numbers = _line(ours, peer, f"{row.ratio:.3g}", row.floor, row.goal, met)
        lines += [Text(row.figure), numbers, Text()]
    return Group(*lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1e4 else f"{value:.4g}"


def _line(*cells: str, style: str = "") -> Table:
    line = Table.grid(padding=(0, 2), expand=True)
    for width in (0, 13, 13, 8):
        line.add_column(width=width, justify="right")
    for share in (3, 2):
        line.add_column(ratio=share, overflow="fold")
    line.add_column(width=4)
    line.add_row("", *cells, style=style)
    return line


def as_dicts(rows: Sequence[BenchRow]) -> list[dict[str, Any]]:
    """The rows as JSON objects."""
    return [asdict(row) for row in rows]
