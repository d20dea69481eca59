"""`rlpeft compare`: ways to choose among experts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.cli.options import Overrides, folder_to_write
from rlpeft.files import write_json

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
