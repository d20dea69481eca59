"""`rlpeft bench`: measured figures beside their peers, floors and goals."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.bench import BENCHES
from rlpeft.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.bench.rows import BenchRow


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(BENCHES)}; all if absent.")
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="Of every side; with more than one, ratios drift more.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Measure ratios against named peers, in one run each. Leave the machine alone meanwhile.

    All of them take an hour and a half on two cores. Each row is shown
    once it is measured; what the libraries say meanwhile goes into a log.
    """
    chosen = names or list(BENCHES)
    for name in chosen:
        if name not in BENCHES:
            raise ConfigError(f"bench must be one of {', '.join(BENCHES)}, got {name!r}.")
    from rich.console import Console

    from jobs.bench.rows import as_dicts, table

    os.environ["OMP_NUM_THREADS"] = str(threads)  # for the processes that measure
    rows: list[BenchRow] = []
    console = Console(stderr=as_json)
    for row in _measured(chosen, console):
        console.print(table([row], header=not rows))
        rows.append(row)
    if as_json:
        typer.echo(json.dumps(as_dicts(rows)))


def _measured(names: Sequence[str], console: Console) -> Iterator[BenchRow]:
    """Rows of every bench, above a line of progress."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from jobs.bench.rows import apart, rows_of

    handle, log = mkstemp(prefix="rlpeft-bench-", suffix=".log")
    os.close(handle)
    console.print(f"What the libraries say goes to {log}.")
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        for at, name in enumerate(names, start=1):
            plan = f"measuring {name} ({at} of {len(names)}), about {BENCHES[name]} min"
            task = progress.add_task(plan)
            yield from apart(partial(rows_of, name), log=Path(log))
            progress.remove_task(task)
