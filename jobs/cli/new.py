"""`rlpeft new`: a folder to start from."""

from __future__ import annotations

import json
import shlex
from contextlib import chdir
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.options import AsJson
from rlpeft.terminal import say
from rlpeft.typed import program


class TaskKind(StrEnum):
    """Kinds of tasks there is a start for."""

    OWN = "own"
    MATH = "math"
    CHOICE = "choice"
    CODE = "code"
    LABEL = "label"
    ENVIRONMENT = "environment"


def new(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="The folder to write.")],
    kind: Annotated[
        TaskKind,
        typer.Option(
            help="What answers are: judged by a function of your own, a number or formula, the "
            "letter of a choice, a program, one of a few labels, or turns that an environment of "
            "your own answers."
        ),
    ] = TaskKind.OWN,
    model: Annotated[
        str,
        typer.Option(
            metavar="ID", help="Base model: a folder, a Hub id, or `tiny`, which we ship."
        ),
    ] = "tiny",
    as_json: AsJson = False,
) -> None:
    """Write a folder to start from: a recipe, rows and, where they are yours, reward or turns.

    Everything in it works as it is: look it over by `rlpeft doctor`, train it, then put your rows
    in the place of ours. Each line of the recipe says what it does, and nothing that is there is
    overwritten.

    rlpeft new halves, and then what it says.
    """
    from jobs.recipes.start import write_start

    files = write_start(name, kind=kind.value, model=model)
    with chdir(name):
        commands = [f"{program()} {rest}" for rest in NEXT]
    commands = [f"cd {shlex.quote(str(name))}", *commands]
    if as_json:
        typer.echo(json.dumps({"folder": str(name), "files": files, "next": commands}))
        return
    say(f"{name}: {', '.join(files)}")
    if model == "tiny" and kind not in TINY_CAN:
        say(
            "The tiny model cannot solve these rows: with it you see that all fits together. Name "
            "one that half knows the answers by --model, or as model.name in recipe.toml."
        )
    typer.echo("next:")
    for command in commands:
        typer.echo(f"  {command}")


TINY_CAN = (TaskKind.OWN, TaskKind.ENVIRONMENT)
"""Kinds whose rows the tiny model half knows."""

NEXT = ("doctor recipe.toml", "train recipe.toml --local")
"""What to do in the new folder."""
