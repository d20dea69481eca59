"""The command that writes a run's report, or compares several, as `rlpeft report` knows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.beginning import say_beginning
from jobs.cli.options import AsJson, file_to_write
from rlpeft.errors import ConfigError
from rlpeft.terminal import near_path

COMPARISON_FILE = "comparison.html"

Runs = Annotated[
    list[Path], typer.Argument(metavar="RUN…", help="Folders of runs, finished or not.")
]
PageOut = Annotated[
    Path | None,
    typer.Option(
        callback=file_to_write,
        help=f"The page. Default: report.html in the run's folder; {COMPARISON_FILE} here of "
        "several.",
    ),
]


Follow = Annotated[
    bool, typer.Option("--follow", help="Serve the page here while the run goes on, until Ctrl-C.")
]
Port = Annotated[
    int | None,
    typer.Option(min=1, max=65535, help="Of --follow, on 127.0.0.1. Default: any that is free."),
]


def report(
    runs: Runs,
    out: PageOut = None,
    follow: Follow = False,
    port: Port = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's page: one file that needs nothing but a browser.

    Of several runs: their curves over each other, final figures, how each does beside the first
    on the same test problems, and where their recipes differ.
    """
    _check(runs, out, follow, port, as_json)
    named = ", ".join(near_path(str(run)) for run in runs)
    say_beginning(f"{'Serving' if follow else 'Writing'} the page of {named}.")
    from rlpeft.report.comparison import write_comparison
    from rlpeft.report.live import follow as follow_run
    from rlpeft.report.page import write_report

    if follow:
        return follow_run(runs[0], port or 0)
    if len(runs) > 1:
        found = write_comparison(runs, out or Path(COMPARISON_FILE))
    else:
        path = write_report(runs[0], out)
        found = {"report": str(path), "bytes": path.stat().st_size}
    typer.echo(json.dumps(found) if as_json else found["report"])


def _check(
    runs: Sequence[Path], out: Path | None, follow: bool, port: int | None, as_json: bool
) -> None:
    if port is not None and not follow:
        raise ConfigError(f"--port is of --follow, which is not given, got {port}.")
    if follow and len(runs) > 1:
        raise ConfigError(f"--follow serves the page of one run, got {len(runs)} runs.")
    if follow and (out is not None or as_json):
        raise ConfigError("--follow serves a page and writes none: leave --out and --json out.")
    from rlpeft.report.asked import require_runs
    from rlpeft.report.standing import require_run

    if follow:
        return require_run(runs[0])
    require_runs(runs)
