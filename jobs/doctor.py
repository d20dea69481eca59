"""The command that examines a recipe, as `rlpeft doctor` knows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.command import Overrides
from jobs.recipes import read_recipe
from rlpeft.typed import typeable

if TYPE_CHECKING:
    from rlpeft.checks.row import Check

COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a packaged recipe.")],
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Look for what would stop a run or spoil it, before any long work; exit 1 if it is there."""
    found = read_recipe(recipe, overrides or ())
    from jobs.command import quiet_libraries
    from rlpeft.doctor import examine

    quiet_libraries()
    checks = []
    with Console(stderr=True).status("examining the recipe") as status:
        for check in examine(found):
            checks.append(check)
            status.update(f"examined {check.name}")
    healthy = all(check.status != "fail" for check in checks)
    if as_json:
        typer.echo(json.dumps({"ok": healthy, "checks": [asdict(check) for check in checks]}))
    else:
        Console().print(table(checks))
        typer.echo(conclusion(checks))
    raise typer.Exit(0 if healthy else 1)


def table(checks: Sequence[Check]) -> RenderableType:
    """A row for each check; what to do stands below what was found."""
    shown = Table(box=SIMPLE_HEAD)
    for heading in ("check", "", "found"):
        shown.add_column(heading, overflow="fold")
    for check in checks:
        found = Text(typeable(check.found))
        if check.advice:
            found.append(typeable(f"\n→ {check.advice}"), style="bold")
        shown.add_row(check.name, Text(check.status, style=COLOURS[check.status]), found)
    return shown


def conclusion(checks: Sequence[Check]) -> str:
    """What the table says, in one line."""
    counts = {status: sum(check.status == status for check in checks) for status in COLOURS}
    if counts["fail"]:
        return f"{counts['fail']} to mend, {counts['warn']} to know of: do not start this run yet"
    if counts["warn"]:
        return f"nothing to mend, {counts['warn']} to know of"
    return "nothing to mend"
