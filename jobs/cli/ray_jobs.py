"""`rlpeft submit`, `status`, `logs` and `stop`: training runs as Ray jobs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.options import AsJson, Overrides, RecipeName
from rlpeft.terminal import say
from rlpeft.typed import program

DashboardAddress = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS",
        help="Dashboard of the cluster, http://HOST:8265, or its head, HOST:6379.",
    ),
]
Job = Annotated[str, typer.Argument(metavar="ID", help="What `rlpeft submit` gave back.")]
DASHBOARD = "http://127.0.0.1:8265"


def submit(
    recipe: RecipeName,
    overrides: Overrides = None,
    address: DashboardAddress = DASHBOARD,
    out: Annotated[Path | None, typer.Option(help="Run folder on the cluster's head.")] = None,
    retries: Annotated[
        int, typer.Option(min=0, help="How often a killed run is started again, to continue.")
    ] = 3,
    working_dir: Annotated[
        Path | None,
        typer.Option(help="Folder to send along, for data and rewards the recipe names."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Submit a training run to a cluster."""
    from jobs.cluster.submit import submit as send

    job, folder = send(
        recipe,
        overrides or (),
        address=address,
        out=out,
        retries=retries,
        working_dir=working_dir,
    )
    if as_json:
        typer.echo(json.dumps({"id": job, "out": str(folder)}))
        return
    where = "" if address == DASHBOARD else f" --address {address}"
    say(f"submitted {job}; its run folder is", str(folder))
    say("next:", f"{program()} logs {job} --follow{where}")


def status(job: Job, address: DashboardAddress = DASHBOARD, as_json: AsJson = False) -> None:
    """Say how a job stands."""
    from jobs.cluster.submit import status as ask

    found = ask(job, address=address)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        if value is not None:
            typer.echo(f"{name:<10} {value}")


def logs(
    job: Job,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Until the job ends.")] = False,
    address: DashboardAddress = DASHBOARD,
    as_json: AsJson = False,
) -> None:
    """Print a job's log; after following a job that failed, exit with 1."""
    from jobs.cluster.submit import logs as read
    from jobs.cluster.submit import status as ask

    pieces = read(job, address=address, follow=follow)
    if as_json:
        typer.echo(json.dumps({"id": job, "log": "".join(pieces)}))
    for piece in pieces:
        typer.echo(piece, nl=False)
    sys.stdout.flush()
    if follow and (found := ask(job, address=address))["status"] != "SUCCEEDED":
        say(f"job {job} ended as {found['status']}: {found['message']}", err=True)
        raise typer.Exit(1)


def stop(job: Job, address: DashboardAddress = DASHBOARD, as_json: AsJson = False) -> None:
    """Stop a job; its run folder stays, and the same run may be submitted again."""
    from jobs.cluster.submit import stop as end

    stopped = end(job, address=address)
    if as_json:
        typer.echo(json.dumps({"id": job, "stopped": stopped}))
    else:
        typer.echo(f"{job} {'is being stopped' if stopped else 'was not running'}.")
