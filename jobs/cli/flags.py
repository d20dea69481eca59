"""`--model`, `--data`, `--reward`: what a run must name, in the place of a recipe or over one.

Each is a `--set` in short, and so is `--experts` of a search. All of them make a recipe; what they
leave open is said, never assumed in silence.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlpeft.errors import ConfigError
from rlpeft.terminal import near_path, note, note_each, say
from rlpeft.typed import typeable

if TYPE_CHECKING:
    from rlpeft.recipe.adapt import AdaptRecipe
    from rlpeft.recipe.run import Recipe
    from rlpeft.recipe.together import SeveralExperts

HERE = "the command line"
"""Where a recipe comes from that flags make, for errors."""

Sizes = Callable[[int], tuple[int, int]]
"""How many rows -> validation and test problems of a file that has no room for the defaults."""

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


ExpertFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--experts",
        metavar="FOLDER",
        help="Folder with experts, at any depth, or an expert's Hub id; may be repeated.",
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
    from jobs.recipes import find_recipe, read_recipe
    from rlpeft.recipe.run import parse_recipe
    from rlpeft.tasks.rows import fitting

    flags = {"--model": model, "--data": data, "--reward": reward}
    if recipe is None:
        return parse_recipe(_tree(flags, overrides, fitting), source=HERE)
    return read_recipe(recipe, [*_settings(flags, find_recipe(recipe), fitting), *overrides])


def together_given(
    recipe: str | None,
    overrides: Sequence[str],
    *,
    model: str | None,
    data: str | None,
    reward: str | None,
) -> SeveralExperts | None:
    """The recipe of a command that trains several experts; `None` where it is of one.

    Raises:
        ConfigError: it is wrong, or a flag is given that is each expert's own.
    """
    from jobs.recipes import read_together
    from rlpeft.recipe.toml import toml_value

    if recipe is None:
        return None
    named = [] if model is None else [FORMS["--model"].format(toml_value(model))]
    found = read_together(recipe, [*named, *overrides])
    given = {"--data": data, "--reward": reward}
    if found and (own := [flag for flag, value in given.items() if value is not None]):
        raise ConfigError(
            f"{' and '.join(own)} cannot be given with a recipe of several [[expert]], each of "
            "which has its own. Set that of one: --set expert.NAME.task.path=…"
        )
    note_each(found.notes if found else ())
    return found


def search_given(
    recipe: str | None,
    overrides: Sequence[str],
    *,
    model: str | None,
    data: str | None,
    reward: str | None,
    experts: Sequence[str] | None,
) -> AdaptRecipe:
    """The recipe of a search, changed by its flags and then by `--set`.

    Raises:
        ConfigError: neither a recipe nor all four flags, or what they make is no recipe.
    """
    from jobs.recipes import ADAPT, find_recipe, read_adapt_recipe
    from rlpeft.recipe.adapt import AdaptRecipe
    from rlpeft.recipe.run import validated

    flags = {"--model": model, "--data": data, "--reward": reward, "--experts": experts or None}
    if recipe is None:
        return validated(AdaptRecipe, _tree(flags, overrides, halves), source=HERE)
    settings = _settings(flags, find_recipe(recipe, ADAPT), halves)
    return read_adapt_recipe(recipe, [*settings, *overrides])


def halves(num_rows: int) -> tuple[int, int]:
    """Validation and test problems of a search: it validates on none, and its shots are few."""
    return 1, num_rows // 2


def _tree(flags: Mapping[str, Any], overrides: Sequence[str], sizes: Sizes) -> dict[str, Any]:
    """What flags make where there is no recipe.

    Raises:
        ConfigError: names all flags that are missing.
    """
    from rlpeft.recipe.run import with_overrides
    from rlpeft.recipe.toml import toml_value

    if missing := [flag for flag, value in flags.items() if value is None]:
        *others, last = flags
        raise ConfigError(
            f"a recipe must be named, or {', '.join(others)} and {last} be given in its place; "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing. "
            "rlpeft new NAME writes a recipe to start from."
        )
    named = f"name={toml_value(_name_of(flags['--data']))}"
    return with_overrides({}, [named, *_settings(flags, None, sizes), *overrides])


FORMS = {
    "--model": "model.name={}",
    "--reward": "reward=[{{ name = {} }}]",
    "--experts": "experts={}",
}
"""What flags stand for; `--data` depends on the task in whose place it comes."""


def _settings(flags: Mapping[str, Any], recipe: Path | None, sizes: Sizes) -> list[str]:
    """Flags as `--set` takes them.

    Args:
        recipe: the file that they change, if there is one.
    """
    from rlpeft.recipe.run import read_tree
    from rlpeft.recipe.toml import toml_value

    task = {} if recipe is None else read_tree(recipe, ()).get("task", {})
    given = {flag: value for flag, value in flags.items() if value is not None}
    rows = _rows(given.pop("--data"), task, sizes) if "--data" in given else []
    return [*(FORMS[flag].format(toml_value(value)) for flag, value in given.items()), *rows]


def _rows(data: str, task: Any, sizes: Sizes) -> list[str]:
    """`--data` over a task: its path, or where that makes its problems itself, in its place.

    A file that is divided gets sizes that it has room for, where none are given.
    """
    from rlpeft.recipe.toml import toml_value
    from rlpeft.tasks.catalogue import is_generated
    from rlpeft.tasks.rows import divided

    if isinstance(task, list):
        raise ConfigError(
            "--data takes the place of a task, and the recipe has several. Set the path of one of "
            f"them: --set task.LABEL.path={data}"
        )
    named = str(task.get("name"))
    if task and not is_generated(named):
        return [f"task.path={toml_value(data)}"]
    rows = [f"task={{ name = 'jsonl', path = {toml_value(data)} }}"]
    rows += [f"task.{size}={n}" for size, n in divided(Path(data).expanduser(), sizes).items()]
    if task:
        given = " ".join(f"--set {shlex.quote(row)}" for row in rows)
        note(f"--data takes the place of all of task {named!r}, as if by", given)
    return rows


def _name_of(data: str) -> str:
    """What a run on these rows is called: their file or folder, or the dataset without its owner.

    >>> _name_of("data/sums.jsonl.gz"), _name_of("openai/gsm8k")
    ('sums', 'gsm8k')
    """
    return Path(data).expanduser().absolute().name.partition(".")[0]


def say_assumed_search(recipe: AdaptRecipe) -> None:
    """Say what a search without a recipe takes for what its flags leave open."""
    say(
        f"no recipe: name = {recipe.name!r}, {recipe.shots.number} shots, "
        f"{recipe.search.iterations} iterations, answers of at most {recipe.rollout.max_tokens} "
        f"tokens, judged on {recipe.task.num_test} test problems. Change any by --set, such as "
        "--set shots.number=20.",
        err=True,
    )


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
