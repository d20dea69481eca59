"""`rlpeft status`, `logs`, `stop`, `fetch` and `jobs`: what was submitted to a cluster."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.cli.options import AsJson
from jobs.cli.submit import DASHBOARD, DashboardAddress
from rlpeft.errors import RlpeftError
from rlpeft.files import plain_errors
from rlpeft.terminal import note, printable, say
from rlpeft.typed import program

app = typer.Typer(no_args_is_help=True, help="What was submitted to a cluster.")

Job = Annotated[str, typer.Argument(metavar="ID", help="What `rlpeft submit` gave back.")]


def status(job: Job, address: DashboardAddress = DASHBOARD, as_json: AsJson = False) -> None:
    """Say how a job stands."""
    from jobs.cluster.submitted import status as ask

    found = ask(job, address=address)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        if value not in (None, ""):
            typer.echo(printable(f"{name:<10} {value}"))


def logs(
    job: Job,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Until the job ends.")] = False,
    address: DashboardAddress = DASHBOARD,
    as_json: AsJson = False,
) -> None:
    """Print a job's log; after following a job that failed, exit with 1."""
    from jobs.cluster.submitted import logs as read
    from jobs.cluster.submitted import status as ask

    pieces = read(job, address=address, follow=follow)
    if as_json:
        typer.echo(json.dumps({"id": job, "log": "".join(pieces)}))
    for piece in pieces:
        typer.echo(printable(piece), nl=False)
    sys.stdout.flush()
    if follow and (found := ask(job, address=address))["status"] != "SUCCEEDED":
        say(f"job {job} ended as {found['status']}: {found['message']}", err=True)
        raise typer.Exit(1)


def stop(job: Job, address: DashboardAddress = DASHBOARD, as_json: AsJson = False) -> None:
    """Stop a job; its run folder stays, and the same run may be submitted again."""
    from jobs.cluster.submitted import stop as end

    stopped = end(job, address=address)
    if as_json:
        typer.echo(json.dumps({"id": job, "stopped": stopped}))
    else:
        typer.echo(f"{job} {'is being stopped' if stopped else 'was not running'}.")


@app.command("list")
def list_jobs(address: DashboardAddress = DASHBOARD, as_json: AsJson = False) -> None:
    """List the jobs of a cluster, those that are over too: state, since when, command, run folder.

    Of a run whose folder this machine sees, how far it is.
    """
    from jobs.cluster.submitted import list_jobs as ask

    found = [each | {"standing": _standing(each)} for each in ask(address)]
    if as_json:
        typer.echo(json.dumps(found))
        return
    if not found:
        say("no job was submitted to this cluster.", err=True)
    for each in found:
        since = each["ended"] or each["began"]  # neither, of one that waits
        when = f" since {datetime.fromtimestamp(since):%Y-%m-%d %H:%M}" if since else ""
        state = f"{each['status']:<9}{when}"
        typer.echo(printable(f"{each['id']}  {state}  {each.get('command', each['entrypoint'])}"))
        for line in filter(None, (each.get("out"), each["standing"])):
            typer.echo(printable(f"  {line}"))


def _standing(job: Mapping[str, Any]) -> str:
    """How far a run is that is under way, if its folder can be read from here."""
    from rlpeft.report.standing import standing
    from rlpeft.runs.records import METRICS_FILE

    if job["status"] != "RUNNING" or not job.get("out"):
        return ""
    folder = Path(job["out"])
    try:
        with plain_errors(folder):
            return standing(folder).line if (folder / METRICS_FILE).is_file() else ""
    except RlpeftError as error:  # of this run alone: the others are listed
        return str(error)


app.command()(status)
app.command()(logs)
app.command()(stop)


def fetch(
    job: Job,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where it shall lie. Default: runs/NAME.")
    ] = None,
    address: DashboardAddress = DASHBOARD,
    as_json: AsJson = False,
) -> None:
    """Bring the run folder of a job that has ended back, to a machine of its cluster.

    It is there whole or not at all. What failed or was stopped is fetched too, which is said.
    """
    from jobs.cluster.driver_exit import go_on_attended

    go_on_attended()
    from jobs.cluster.fetch import fetch_run

    found = fetch_run(job, address=address, to=to)
    if found.state != "SUCCEEDED":
        note(f"{job} ended as {found.state}, this is what it left: {found.message}")
    if as_json:
        typer.echo(json.dumps(found._asdict() | {"folder": str(found.folder)}))
        return
    say(f"fetched {found.files} files, {found.size / 1e6:,.1f} MB, to", str(found.folder))
    if (expert := found.folder / "expert").is_dir():
        say("next:", f"{program()} experts show {shlex.quote(str(expert))}")
