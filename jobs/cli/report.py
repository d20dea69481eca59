"""The command that writes a run's report, or compares several, as `rlpeft report` knows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.options import AsJson, file_to_write

COMPARISON_FILE = "comparison.html"

Runs = Annotated[
    list[Path], typer.Argument(metavar="RUN…", help="Folders of runs, finished or not.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        callback=file_to_write,
        help=f"The page. Default: report.html in the run's folder; {COMPARISON_FILE} here of "
        "several.",
    ),
]


def report(runs: Runs, out: Out = None, as_json: AsJson = False) -> None:
    """Write a run's page: one file that needs nothing but a browser.

    Of several runs: their curves over each other, final figures, how each does beside the first
    on the same test problems, and where their recipes differ.
    """
    from rlpeft.report.comparison import write_comparison
    from rlpeft.report.page import write_report

    if len(runs) > 1:
        found = write_comparison(runs, out or Path(COMPARISON_FILE))
    else:
        path = write_report(runs[0], out)
        found = {"report": str(path), "bytes": path.stat().st_size}
    typer.echo(json.dumps(found) if as_json else found["report"])
