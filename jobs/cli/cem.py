"""`rlpeft cem`: searches for mixtures on a cluster, kept by a service that outlives its clients."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.adapt import Light, all_overrides, print_summary
from jobs.cli.options import AsJson, Overrides, RecipeName
from jobs.cluster.driver_exit import go_on_attended
from rlpeft.terminal import printable, quiet_libraries, say, score_shown
from rlpeft.typed import program

if TYPE_CHECKING:
    from jobs.cem.client import Client

app = typer.Typer(no_args_is_help=True)

Address = Annotated[
    str | None,
    typer.Option(help="The Ray cluster: http://HOST:8265 or HOST:6379. Default: the one here."),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="What `rlpeft cem submit` gave back.")]


@app.callback()
def attended() -> None:
    """Searches for mixtures on a Ray cluster, as `rlpeft adapt` does them on one machine."""
    go_on_attended()


@app.command()
def submit(
    recipe: RecipeName,
    overrides: Overrides = None,
    light: Light = False,
    id: Annotated[
        str | None,
        typer.Option(help="Name the search; that of a cancelled or failed one continues it."),
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Where a service that is started here keeps all its searches.")
    ] = Path("runs/cem"),
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Begin a search; the first one starts the service.

    The search belongs to the service: it goes on when this command, its terminal, an engine or
    the service's own process ends. Paths in the recipe are read on the service's node.

    ray start --head; rlpeft cem submit tiny-mix --set rollout.num_engines=2
    """
    from jobs.cem.client import open_client
    from jobs.recipes import read_adapt_recipe

    found = read_adapt_recipe(recipe, all_overrides(overrides, light=light))
    with open_client(address, start_in=folder.expanduser()) as client:
        status = client.submit(found, id)
    if as_json:
        typer.echo(json.dumps(status))
        return
    where = "" if address is None else f" --address {address}"
    say(f"submitted {status['id']}; its folder is", str(status["out"]))
    say("next:", f"{program()} cem result {status['id']} --wait{where}")


@app.command()
def status(id: Id, address: Address = None, as_json: AsJson = False) -> None:
    """Say how a search stands: iteration, best and mean accuracy on the shots, spread."""
    from jobs.cem.client import open_client

    with open_client(address) as client:
        _print_status(client.status(id), as_json=as_json)


@app.command("list")
def list_searches(address: Address = None, as_json: AsJson = False) -> None:
    """List the searches of the service, those that are over too."""
    from jobs.cem.client import open_client

    with open_client(address) as client:
        found = client.list()
    if as_json:
        typer.echo(json.dumps(found))
        return
    for each in found:
        form = score_shown if each.get("graded") else "{:.1%}".format
        best = f"  best {form(each['best'])}" if "best" in each else ""
        place = f"{each['iteration']}/{each['total']}"
        typer.echo(f"{each['id']:<28} {each['state']:<10} {place:>9}{best}")


@app.command()
def result(
    id: Id,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it ends; Ctrl-C leaves the search alone.")
    ] = False,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Print what a finished search found: test accuracies, coefficients, its expert."""
    from jobs.cem.client import open_client

    quiet_libraries()
    with open_client(address) as client:
        if wait:
            _show(client, id)
        print_summary(client.result(id), as_json=as_json)


@app.command()
def cancel(id: Id, address: Address = None, as_json: AsJson = False) -> None:
    """End a search; what it found so far stays, and submitting its --id again continues it."""
    from jobs.cem.client import open_client

    with open_client(address) as client:
        _print_status(client.cancel(id), as_json=as_json)


def _show(client: Client, id: str) -> None:
    """A line that follows a search until it ends."""
    from jobs.cli.console import RunDisplay
    from rlpeft.search.few_shot import Standing

    shown = 0
    with RunDisplay(client.status(id)["total"], unit="iteration") as display:
        for status in client.follow(id):
            if status["iteration"] > shown:
                shown = status["iteration"]
                display.step(Standing(shown, status["total"], status["stage"]), status)


def _print_status(status: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(status))
        return
    for name, value in status.items():
        if value != "":
            shown = score_shown(value) if isinstance(value, float) else value
            typer.echo(printable(f"{name:<10} {shown}"))
