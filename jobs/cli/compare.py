"""`rlpeft compare`: ways to choose among experts, and experts on other bases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.cli.options import AsJson, Overrides, folder_to_write
from rlpeft.files import write_json
from rlpeft.terminal import near_path, printable, say

app = typer.Typer(help="Compare methods over several seeds.", no_args_is_help=True)


@app.callback()
def compare_command() -> None:
    """Compare methods over several seeds."""


@app.command()
def mixes(
    recipe: Annotated[
        str, typer.Argument(help="A TOML or YAML file, or the name of a packaged recipe of adapt.")
    ] = "tiny-mix",
    seeds: Annotated[int, typer.Option(min=2, help="How many, from the recipe's seed on.")] = 3,
    classifier: Annotated[
        str | None, typer.Option(help="An expert that tells the tasks apart.", metavar="DIR")
    ] = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(callback=folder_to_write, help="Folder of all searches.")
    ] = None,
) -> None:
    """Compare every way to choose among experts for an unseen task; print the table."""
    from jobs.recipes import read_adapt_recipe
    from jobs.studies.mixes import compare, markdown
    from rlpeft.program.hub import expert_folder
    from rlpeft.terminal import quiet_libraries

    quiet_libraries()
    found = read_adapt_recipe(recipe, overrides or ())
    folder = (out or Path("runs") / f"{found.name}-ways").expanduser().absolute()
    numbers = list(range(found.seed, found.seed + seeds))
    judge = None if classifier is None else expert_folder(classifier)
    table = compare(found, folder, seeds=numbers, classifier=judge)
    dumped: dict[str, Any] = {way: [a.model_dump() for a in t] for way, t in table.items()}
    write_json(folder / "ways.json", dumped)
    typer.echo(markdown(table))


@app.command("transfer")
def transfers(
    to: Annotated[
        list[str],
        typer.Option("--to", help="Another base of its shape; may be repeated.", metavar="MODEL"),
    ],
    recipe: Annotated[
        str, typer.Argument(help="A TOML or YAML file, or a packaged recipe's name.")
    ] = "quickstart",
    seeds: Annotated[int, typer.Option(min=2, help="How many, from the recipe's seed on.")] = 8,
    shuffles: Annotated[int, typer.Option(min=1, help="Permutations of each expert.")] = 3,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(callback=folder_to_write, help="Default: runs/NAME-transfer."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare experts on another base: as they come, shuffled, and trained there; print the table.

    Started again on its folder it goes on. A second tiny base: rlpeft models make-tiny --seed 1
    """
    from jobs.recipes import read_recipe
    from rlpeft.terminal import quiet_libraries

    quiet_libraries()
    from jobs.studies.figures import tables
    from jobs.studies.transfers import compare_transfers
    from jobs.studies.written import PAGE_FILE

    found = read_recipe(recipe, overrides or ())
    folder = (out or Path("runs") / f"{found.name}-transfer").expanduser().absolute()
    numbers = range(found.train.seed, found.train.seed + seeds)
    told = compare_transfers(found, to, folder, seeds=numbers, shuffles=shuffles, tell=_tell)
    if as_json:
        typer.echo(json.dumps(told))
        return
    typer.echo(printable(f"\n{tables(told)}\n"))
    for label, each in told["alignment"].items():
        agree = f"singular vectors agree by {each['found']:.2f}, by chance {each['chance']:.2f}"
        say(f"{label}: {agree}")
    say("report", near_path(str(folder / PAGE_FILE)))


def _tell(stage: str) -> None:
    typer.echo(stage, err=True)
