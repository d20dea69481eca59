"""The command that examines a recipe, as `rlpeft doctor` knows it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import RenderableType

from jobs.cli.beginning import say_beginning
from jobs.cli.examined import examined
from jobs.cli.flags import (
    DataFlag,
    ModelFlag,
    RecipeOrNone,
    RewardFlag,
    recipe_given,
    say_assumed,
    together_given,
)
from jobs.cli.options import Overrides
from jobs.cli.screen import Screen
from rlpeft.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from rlpeft.doctor.reading import Look
    from rlpeft.doctor.row import Check
    from rlpeft.recipe.run import Recipe
    from rlpeft.recipe.together import SeveralExperts

COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    recipe: RecipeOrNone = None,
    model: ModelFlag = None,
    data: DataFlag = None,
    reward: RewardFlag = None,
    overrides: Overrides = None,
    prompts: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Show the first N prompts token by token, and what would be trained.",
        ),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Look for what would stop a run or spoil it, before any long work; exit 1 if it is there."""
    flags = {"model": model, "data": data, "reward": reward}
    several = together_given(recipe, overrides or (), **flags)
    if several is not None and prompts:
        raise ConfigError("--prompts is for a recipe of one expert. Leave it out, or name its own.")
    found = several or recipe_given(recipe, overrides or (), **flags)
    if recipe is None:
        say_assumed(cast("Recipe", found))
    say_beginning(f"Examining {found.name}.")
    from jobs.cli.readings import print_readings
    from rlpeft.doctor.reading import Look, as_tree
    from rlpeft.terminal import quiet_libraries

    quiet_libraries()
    checks, look = [place()], Look(prompts) if prompts else None
    with Screen(stderr=True).status("examining the recipe") as status:
        for check in _checks(found, look):
            checks.append(check)
            status.update(f"examined {check.name}")
    healthy = all(check.status != "fail" for check in checks)
    if as_json:
        tree: dict[str, Any] = {"ok": healthy, "checks": [asdict(check) for check in checks]}
        if look:
            tree |= {"ends": look.ends and as_tree(look.ends)}
            tree |= {"prompts": [as_tree(reading) for reading in look.readings]}
        typer.echo(json.dumps(tree))
    else:
        Screen().print(table(checks))
        if look:
            print_readings(look, Screen())
        typer.echo(conclusion(checks))
    raise typer.Exit(0 if healthy else 1)


def _checks(found: Recipe | SeveralExperts, look: Look | None) -> Iterator[Check]:
    from rlpeft.doctor.examine import examine
    from rlpeft.doctor.together import examine_together
    from rlpeft.recipe.together import SeveralExperts

    if isinstance(found, SeveralExperts):
        return examine_together(found.recipes)
    return examine(found, look=look)


def place() -> Check:
    """Where a run would go, found without starting Ray."""
    from jobs.cluster.joining import cluster_to_join, require_alive
    from rlpeft.doctor.row import ok, warn

    name, local = "place of a run", "rlpeft train --local: in its own process"
    try:
        if (cluster := cluster_to_join(None)) is None:
            return ok(name, f"rlpeft train: on a Ray of its own on this machine; {local}")
        require_alive(cluster, wait_s=0)
    except ClusterError as error:
        return warn(name, str(error), "")
    return ok(name, f"rlpeft train: on {cluster}; {local}")


def table(checks: Sequence[Check]) -> RenderableType:
    """A row for each check; what to do stands below what was found."""
    rows = ((check.name, check.status, check.found, check.advice) for check in checks)
    return examined(("check", "found"), rows, COLOURS)


def conclusion(checks: Sequence[Check]) -> str:
    """What the table says, in one line."""
    counts = {status: sum(check.status == status for check in checks) for status in COLOURS}
    if counts["fail"]:
        return f"{counts['fail']} to mend, {counts['warn']} to know of: do not start this run yet"
    if counts["warn"]:
        return f"nothing to mend, {counts['warn']} to know of"
    return "nothing to mend"
