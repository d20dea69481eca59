"""`rlpeft sft`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.beginning import ended_before, say_opening, say_training
from jobs.cli.flags import DataFlag, ModelFlag, RecipeOrNone, RewardFlag, recipe_given
from jobs.cli.options import MirrorUrl, Overrides, Push, folder_to_write
from jobs.cli.push import check_push_option, pushing
from jobs.cluster.mirror import Keep, mirroring
from rlpeft.terminal import quiet_libraries

if TYPE_CHECKING:
    from rlpeft.recipe.run import Recipe


SUFFIX = "-sft"
"""Of the run folder and of the expert, after the recipe's name."""


def sft(
    recipe: RecipeOrNone = None,
    model: ModelFlag = None,
    data: DataFlag = None,
    reward: RewardFlag = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=folder_to_write,
            help="Run folder; an unfinished run in it continues. Default: runs/NAME-sft.",
        ),
    ] = None,
    mirror: MirrorUrl = None,
    push: Push = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Train an expert on written answers (trl.SFTTrainer), then test it against its base model.

    The recipe is one of `rlpeft train`, and any adapter will do: --set adapter.type=hyplora.

    sft.completion says what the model shall write, from columns of the data: {answer} by default,
    {output} for Math-10K, {solution} for GSM8K.

    The expert is called NAME-sft, so that rlpeft train can go on from it as NAME.

    Batch, steps and optimizer are train.prompts_per_step, train.steps and the learner section.
    """
    from jobs.cluster.travel import run_folder

    found = recipe_given(recipe, overrides or (), model=model, data=data, reward=reward)
    check_push_option(push)
    folder = run_folder(out, f"{found.name}{SUFFIX}")
    with mirroring(mirror, folder) as keep:
        found = own_name(found, folder, overrides or ())
        summary = ended_before(found, folder, method="sft")
        if summary is None:
            say_training(found, folder, is_given=recipe is not None)
            summary = _trained(found, folder, keep)
    from jobs.cli.closing import print_closing

    with pushing(summary, push):
        if as_json:
            typer.echo(json.dumps(summary))
        else:
            print_closing(summary)


def own_name(recipe: Recipe, folder: Path, overrides: Sequence[str]) -> Recipe:
    """The recipe as its supervised expert is called, NAME-sft: `train` makes that of NAME.

    A name that `--set` gives stands, and that of a run in the folder, which may be of before.

    Raises:
        ConfigError: NAME-sft is too long.
    """
    from rlpeft.recipe.run import Recipe, validated
    from rlpeft.runs.records import RECIPE_FILE, read_kept_recipe

    name = recipe.name
    if any(each.partition("=")[0].strip() == "name" for each in overrides):
        return recipe
    if name.endswith(SUFFIX) or read_kept_recipe(folder / RECIPE_FILE).get("name") == name:
        return recipe
    tree = recipe.model_dump() | {"name": f"{name}{SUFFIX}"}
    return validated(Recipe, tree, source=f"of {name}, supervised")


def _trained(recipe: Recipe, folder: Path, keep: Keep) -> dict[str, Any]:
    """Train where a person sees how far it is; write its page."""
    from jobs.cli.console import after, run_shown
    from jobs.sft import run
    from rlpeft.report.page import write_report

    quiet_libraries()
    say_opening()
    with run_shown(folder, recipe.train.steps) as display:
        summary = run(recipe, folder, on_step=after(display.step, keep))
    return summary | {"report": str(write_report(folder))}
