"""`rlpeft train` of several `[[expert]]`: trained together, each in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from jobs.cli.beginning import ended, say_ended, say_opening
from jobs.cluster.driver_exit import go_on_attended
from jobs.cluster.ending import end_in_one_line
from jobs.cluster.mirror import Keep, mirroring
from rlpeft.errors import ConfigError
from rlpeft.program.opening import LOADING
from rlpeft.terminal import near_path, quiet_libraries, say
from rlpeft.typed import this_command

if TYPE_CHECKING:
    from rlpeft.program.together import OnStepOf
    from rlpeft.recipe.run import Recipe
    from rlpeft.recipe.together import SeveralExperts

Summaries = dict[str, dict[str, Any]]


def refuse_flags(*, show: int, push: str | None) -> None:
    """Refuse what is of one expert.

    Raises:
        ConfigError: names the flag and what to do instead.
    """
    if show:
        raise ConfigError("--show is for a recipe of one expert; reports show answers of each.")
    if push is not None:
        raise ConfigError(
            "--push is for a recipe of one expert. Push each when it is trained: rlpeft push "
            "OUT/NAME/expert ORG/NAME."
        )


def train_together(
    found: SeveralExperts,
    out: Path | None,
    *,
    mirror: str | None,
    address: str | None,
    local: bool,
    as_json: bool,
) -> None:
    """Train the experts that are not finished, and print the figures of all."""
    from jobs.cluster.travel import run_folder

    folder = run_folder(out, found.name)
    with ExitStack() as stack:
        keeps = {
            name: stack.enter_context(mirroring(mirror, folder / name, name))
            for name in found.recipes
        }
        summaries = _summaries(found, folder, keeps, address=address, local=local)
    _print(summaries, folder, as_json=as_json)


def _summaries(
    found: SeveralExperts,
    folder: Path,
    keeps: Mapping[str, Keep],
    *,
    address: str | None,
    local: bool,
) -> Summaries:
    """Of all experts, trained now or before."""
    before = _ended_before(found.recipes, folder)
    left = {name: own for name, own in found.recipes.items() if name not in before}
    if left and not local:
        go_on_attended()
    for name in before:
        say_ended(before[name], found.recipes[name], folder / name)
    trained = _trained(found.name, left, folder, keeps, address, local=local) if left else {}
    return {name: (before | trained)[name] for name in found.recipes}


def _ended_before(recipes: Mapping[str, Recipe], folder: Path) -> Summaries:
    """The summaries of those that are finished; of the others, what would stop them is refused."""
    from rlpeft.runs.fingerprint import refuse_other_than

    refuse_other_than(recipes, folder)
    found = {name: ended(own, folder / name, method="train") for name, own in recipes.items()}
    return {name: summary for name, summary in found.items() if summary is not None}


def _trained(
    name: str,
    recipes: Mapping[str, Recipe],
    folder: Path,
    keeps: Mapping[str, Keep],
    address: str | None,
    *,
    local: bool,
) -> Summaries:
    number = f"{len(recipes)} expert{'s' * (len(recipes) > 1)}"
    say(f"{name}: {number}, {', '.join(recipes)}. {LOADING}", err=True)
    from jobs.cli.console import INTERRUPTED
    from jobs.cluster.parts import shared_on_ray
    from rlpeft.program.together import run_together, shared_here
    from rlpeft.report.page import write_report

    quiet_libraries()
    end_in_one_line()
    say_opening()
    open_shared = shared_here if local else partial(shared_on_ray, address=address)
    on_step = _shown(recipes, folder, keeps)
    try:
        found = run_together(recipes, folder, open_shared=open_shared, on_step=on_step)
    except KeyboardInterrupt:
        say("stopped; each goes on from its last step:", this_command(), err=True)
        raise SystemExit(INTERRUPTED) from None
    return {own: each | {"report": str(write_report(folder / own))} for own, each in found.items()}


def _shown(recipes: Mapping[str, Recipe], folder: Path, keeps: Mapping[str, Keep]) -> OnStepOf:
    """Shows each expert's steps in lines of its own, and has its mirror keep them."""
    from jobs.cli.console import RunDisplay, after
    from rlpeft.runs.checkpoint import steps_done

    lines = {
        name: RunDisplay(
            recipe.train.steps,
            whose=name,
            done=steps_done(folder / name),
            in_groups=recipe.loss.compares_groups,
        )
        for name, recipe in recipes.items()
    }
    steps = {name: after(lines[name].step, keeps[name]) for name in recipes}
    return lambda name, progress, metrics: steps[name](progress, metrics)


def _print(summaries: Summaries, folder: Path, *, as_json: bool) -> None:
    from jobs.cli.closing import print_closing

    if as_json:
        typer.echo(json.dumps(summaries))
        return
    for name, summary in summaries.items():
        typer.echo(f"\n{name}")
        print_closing(summary)
    say("\ncompare them:", f"rlpeft report {near_path(str(folder))}/*")
