"""`rlpeft adapt`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.cli.options import Overrides, Push, RecipeName, folder_to_write
from jobs.cli.push import check_push_option, pushing
from jobs.cluster.ending import quiet_libraries

Light = Annotated[bool, typer.Option("--light", help="A small budget: 3 shots and 10 iterations.")]


def adapt(
    recipe: RecipeName,
    overrides: Overrides = None,
    light: Light = False,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=folder_to_write,
            help="Folder of the search; an unfinished one continues. Default: runs/NAME.",
        ),
    ] = None,
    push: Push = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Mix experts for a task that none was trained for, by a handful of labelled examples.

    Searches the coefficients that answer the shots best, writes the mixture as an ordinary expert
    with its parents and history on its card, and judges it once on the task's test split, beside
    the base, each expert and their uniform mixture. Started again, it continues.

    rlpeft adapt tiny-mix --set shots.number=20
    """
    from jobs.adapt import run
    from jobs.cli.console import run_shown
    from jobs.cluster.travel import run_folder
    from jobs.recipes import read_adapt_recipe
    from rlpeft.search.few_shot import total_iterations

    found = read_adapt_recipe(recipe, all_overrides(overrides, light=light))
    check_push_option(push)
    folder = run_folder(out, found.name)
    quiet_libraries()
    with run_shown(folder, total_iterations(found), unit="iteration") as display:
        summary = run(found, folder, on_iteration=display.step)
    with pushing(summary, push):
        print_summary(summary, as_json=as_json)


def all_overrides(overrides: list[str] | None, *, light: bool) -> list[str]:
    """`--light` first, so that a `--set` may still change it."""
    from rlpeft.recipe.adapt import LIGHT

    return [*(LIGHT if light else ()), *(overrides or ())]


def print_summary(summary: Mapping[str, Any], *, as_json: bool) -> None:
    """The table and the facts that a finished search ends with."""
    if as_json:
        typer.echo(json.dumps(summary))
        return
    from rich.console import Console

    from jobs.cli.console import accuracy_table
    from rlpeft.terminal import labelled, near_path, terminal_width

    table = accuracy_table(summary["test"], title=f"{summary['name']}: test {{}}")
    Console().print(table)
    if summary.get("equals_base"):
        typer.echo("The mixture found is the base model: none did better on the shots.")
    weights = ", ".join(f"{name} {value:.3f}" for name, value in summary["coefficients"].items())
    shots = summary["shots"]
    rows = [
        ("coefficients", f"{weights} ({summary['arm']})"),
        ("shots", f"{_fitness(shots)} of {shots['number']}"),
        *(("on folds", f"{_fitness(f)} {arm}") for arm, f in summary["cross_validation"].items()),
        ("expert", near_path(summary["expert"])),
        ("history", near_path(summary["history"])),
    ]
    for label, value in rows:
        typer.echo(labelled(label, value, column=15, width=terminal_width()))


def _fitness(found: Mapping[str, Any]) -> str:
    return f"{found['accuracy']:.1%}" if "accuracy" in found else f"mean score {found['score']:.3f}"
