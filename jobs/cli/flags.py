"""`--model`, `--data` and `--reward`: what a run must name, in the place of a recipe or over one.

Each is a `--set` in short. All three make a recipe; what they leave open is said, never assumed in
silence.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlpeft.errors import ConfigError
from rlpeft.terminal import near_path, say
from rlpeft.typed import typeable

if TYPE_CHECKING:
    from rlpeft.recipe.run import Recipe

RecipeOrNone = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        help="A TOML or YAML file, or the name of a packaged recipe. Without one, --model, --data "
        "and --reward are needed.",
    ),
]
ModelFlag = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="ID", help="Base model, as model.name: a folder, a Hub id, `tiny`."
    ),
]
DataFlag = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="Rows, as task.path: a file (JSONL, CSV, Parquet), a folder of splits, a Hub id.",
    ),
]
RewardFlag = Annotated[
    str | None,
    typer.Option(
        "--reward",
        metavar="NAME",
        help="The one reward, in the place of a recipe's: `math`, `exact`, `module:function`.",
    ),
]


def recipe_given(
    recipe: str | None,
    overrides: Sequence[str],
    *,
    model: str | None,
    data: str | None,
    reward: str | None,
) -> Recipe:
    """The recipe of a command, changed by its flags and then by `--set`.

    Raises:
        ConfigError: neither a recipe nor all three flags, or what they make is no recipe.
    """
    from jobs.recipes import read_recipe
    from rlpeft.recipe.run import parse_recipe, with_overrides
    from rlpeft.recipe.toml import toml_value

    flags = {"--model": model, "--data": data, "--reward": reward}
    forms = ("model.name={}", "task.path={}", "reward=[{{ name = {} }}]")
    settings = [
        form.format(toml_value(value))
        for form, value in zip(forms, flags.values(), strict=True)
        if value is not None
    ]
    if recipe is not None:
        return read_recipe(recipe, [*settings, *overrides])
    missing = [flag for flag, value in flags.items() if value is None]
    if missing or data is None:
        raise ConfigError(
            f"a recipe must be named, or --model, --data and --reward be given in its place; "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing. "
            "rlpeft new NAME writes a recipe to start from."
        )
    named = f"name={toml_value(_name_of(data))}"
    return parse_recipe(
        with_overrides({}, [named, *settings, *overrides]), source="the command line"
    )


def _name_of(data: str) -> str:
    """What a run on these rows is called: their file or folder, or the dataset without its owner.

    >>> _name_of("data/sums.jsonl.gz"), _name_of("openai/gsm8k")
    ('sums', 'gsm8k')
    """
    return Path(data).expanduser().absolute().name.partition(".")[0]


def say_assumed(recipe: Recipe, folder: Path | None = None) -> None:
    """Say what a run without a recipe takes for what its flags leave open.

    Args:
        folder: of the run, which will hold all of it.
    """
    from rlpeft.recipe.run import task_of

    train, task = recipe.train, task_of(recipe)
    kept = near_path(str(folder / "recipe.json")) if folder else ""
    kept = typeable(f"rlpeft recipe {shlex.quote(kept)}") if kept else ""
    said = (
        f"no recipe: name = {recipe.name!r}, adapter.type = {recipe.adapter.type!r}, "
        f"{train.steps} steps of {train.prompts_per_step} prompts and {train.group_size} answers "
        f"to each, of at most {recipe.rollout.max_tokens} tokens, learner.lr = "
        f"{recipe.learner.lr:g}, {task.num_validation} validation and {task.num_test} test "
        f"problems. Change any by --set, such as --set train.steps=20."
        f"{' All of it will be said by' if kept else ''}"
    )
    say(said, kept, err=True)
