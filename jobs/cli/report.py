"""The command that writes a run's report, as `rlpeft report` knows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write report.html into a run's folder: one file that needs nothing else."""
    from rlpeft.report.page import write_report

    path = write_report(run)
    typer.echo(json.dumps({"report": str(path), "bytes": path.stat().st_size}) if as_json else path)
