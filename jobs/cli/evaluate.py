"""`rlpeft evaluate`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.options import Overrides
from jobs.cluster.ending import quiet_libraries


class SplitName(StrEnum):
    """Splits a task has."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def evaluate(
    expert: Annotated[Path, typer.Argument(help="Expert folder.")],
    recipe: Annotated[
        str | None, typer.Option(help="Recipe to evaluate by. Default: that of its run.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Another task than the recipe's.")] = None,
    overrides: Overrides = None,
    split: Annotated[SplitName, typer.Option(help="Which problems.")] = SplitName.TEST,
    num: Annotated[int | None, typer.Option(min=1, help="How many problems at most.")] = None,
    address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster: http://HOST:8265 or HOST:6379. Default: this process."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare an expert with its base model on the same problems."""
    from rich.console import Console

    from jobs.cli.console import accuracy_table, compared
    from jobs.evaluate import evaluate_expert, recipe_for

    quiet_libraries()
    found = evaluate_expert(
        expert,
        recipe_for(expert, recipe, task, overrides or ()),
        split=split.value,
        num=num,
        address=address,
    )
    if as_json:
        typer.echo(json.dumps(found))
        return
    kind = "accuracy" if "accuracy" in found else "score"
    base, own = found[f"base_{kind}"], found[kind]
    title = f"{found['task']}, {found['split']} problems"
    Console().print(accuracy_table({"base": base, "expert": own}, title=title))
    typer.echo(compared(base, own))
