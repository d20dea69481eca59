"""The command that trains, as `rlpeft train` and as `python -m jobs.train` know it."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.beginning import ended_before, say_opening, say_training
from jobs.cli.flags import (
    DataFlag,
    ModelFlag,
    RecipeOrNone,
    RewardFlag,
    recipe_given,
    together_given,
)
from jobs.cli.options import MirrorUrl, Overrides, Push, folder_to_write
from jobs.cli.push import check_push_option, pushing
from jobs.cli.warned import tell_as_notes
from jobs.cluster.driver_exit import go_on_attended
from jobs.cluster.ending import end_in_one_line, exit_code, in_one_line
from jobs.cluster.mirror import Keep, mirroring
from rlpeft.errors import ConfigError
from rlpeft.terminal import quiet_libraries

if TYPE_CHECKING:
    from rlpeft.recipe.run import Recipe

Cluster = Annotated[
    str | None,
    typer.Option(help="A Ray cluster: http://HOST:8265 or HOST:6379. Default: one here."),
]
RunOut = Annotated[
    Path | None,
    typer.Option(
        callback=folder_to_write,
        help="Run folder; an unfinished run in it continues. Default: runs/NAME.",
    ),
]
Show = Annotated[
    int, typer.Option(min=0, help="Answers to show of a step, with verdicts. Default: none.")
]


def train(
    recipe: RecipeOrNone = None,
    model: ModelFlag = None,
    data: DataFlag = None,
    reward: RewardFlag = None,
    overrides: Overrides = None,
    out: RunOut = None,
    address: Cluster = None,
    local: Annotated[bool, typer.Option("--local", help="One process, without Ray.")] = False,
    show: Show = 0,
    mirror: MirrorUrl = None,
    push: Push = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Train an expert by reinforcement learning, then test it against its base model.

    Without a recipe: rlpeft train --model tiny --data rows.jsonl --reward math. What is left open
    is said; rlpeft new writes a recipe to start from. A recipe of several experts trains them
    together, each in a folder of its own.
    """
    from jobs.cluster.travel import run_folder

    if local and address is not None:
        raise ConfigError(f"--local runs without Ray, it takes no --address, got {address!r}.")
    several = together_given(recipe, overrides or (), model=model, data=data, reward=reward)
    if several is not None:
        from jobs.cli.together import refuse_flags, train_together

        refuse_flags(show=show, push=push)
        train_together(several, out, mirror=mirror, address=address, local=local, as_json=as_json)
        return
    found = recipe_given(recipe, overrides or (), model=model, data=data, reward=reward)
    if local:
        found.rollout.require_apart()
    check_push_option(push)
    folder = run_folder(out, found.name)
    with mirroring(mirror, folder) as keep:
        summary = ended_before(found, folder, method="train")
        if summary is None:
            if not local:
                go_on_attended()
            say_training(found, folder, is_given=recipe is not None)
            summary = _trained(found, folder, address=address, local=local, show=show, keep=keep)
    from jobs.cli.closing import print_closing

    with pushing(summary, push):
        if as_json:
            typer.echo(json.dumps(summary))
        else:
            print_closing(summary)


def _trained(
    recipe: Recipe, folder: Path, *, address: str | None, local: bool, show: int, keep: Keep
) -> dict[str, Any]:
    """Train where a person sees how far it is, and so many answers of a step; write its page."""
    from rlpeft.report.page import write_report

    quiet_libraries()
    end_in_one_line()
    say_opening()
    summary = _shown(recipe, folder, address=address, local=local, show=show, keep=keep)
    return summary | {"report": str(write_report(folder))}


def _shown(
    recipe: Recipe, folder: Path, *, address: str | None, local: bool, show: int, keep: Keep
) -> dict[str, Any]:
    from jobs.cli.answers import answers_shown
    from jobs.cli.console import after, run_shown
    from jobs.cluster.parts import on_ray
    from rlpeft.program.parts import HERE
    from rlpeft.program.run import reinforce, run

    below = partial(answers_shown, folder, number=show) if show else None
    with run_shown(folder, recipe.train.steps, loss=recipe.loss, below=below) as display:
        loop = partial(reinforce, tell=display.groups)
        venue = HERE if local else on_ray(address)
        return run(recipe, folder, venue=venue, on_step=after(display.step, keep), loop=loop)


def main() -> None:
    """Run `train` from the command line; an error is one line and an exit code."""
    tell_as_notes()
    try:
        typer.run(train)
    except Exception as error:
        line = in_one_line(error)
        if line is None:
            raise
        typer.echo(line, err=True)
        sys.exit(exit_code(error))
