"""What a recipe needs beside itself, and whether a job on another machine will find it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rlpeft.errors import ConfigError
from rlpeft.experts.hub import on_hub
from rlpeft.models.folder import PACKAGED
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.reward import RewardConfig
from rlpeft.recipe.run import Recipe, task_of
from rlpeft.tasks.formats import ENDINGS

RAY_COPIES = "runtime_resources"
"""Part of the path of every working folder that Ray makes for a job, and deletes in time."""


def check_relative(named: Iterable[tuple[str, str]], working_dir: Path | None) -> None:
    """Refuse relative paths and modules that do not travel with the job.

    Args:
        named: as it is said, and the path; see `named_by`.
        working_dir: the folder that travels; recipes alone do if absent.

    Raises:
        ConfigError: names the first that would not be found, and what sends it along.
    """
    for said, path in named:
        if working_dir is None:
            raise ConfigError(
                f"{said} is relative: a job looks for it in a folder of its own, to "
                "which the recipe alone travels. Send the folder along: --working-dir . (with the "
                "recipe in it), or name a path that the cluster's machines have."
            )
        is_within = not os.path.normpath(path).startswith(os.pardir)
        if not (is_within and (working_dir / path).exists()):
            raise ConfigError(
                f"{said} must lie in the folder that travels with the job, {str(working_dir)!r} "
                f"has no {path!r}. Copy it there, or write it relative to that folder."
            )


def named_by(recipe: Recipe | AdaptRecipe) -> Iterator[tuple[str, str]]:
    """What names local things by a relative path, as it is said, and the path."""
    if recipe.model.name not in PACKAGED and is_relative(recipe.model.name):
        yield f"model.name = {recipe.model.name!r}", recipe.model.name
    if isinstance(recipe, AdaptRecipe):
        yield from _named_by_search(recipe)
    else:
        yield from _named_by_run(recipe)
    for reward in recipe.rewards:
        yield from _module_of(reward)


def _named_by_run(recipe: Recipe) -> Iterator[tuple[str, str]]:
    origins = [("start", recipe.model.start), *(("merge", name) for name in recipe.model.merge)]
    for key, expert in origins:
        if expert is not None and is_relative_expert(expert):
            yield f"model.{key} = {expert!r}", expert
    for label, own in recipe.alone.items():
        called = f"task.{label}" if label else "task"
        yield from _task_paths(task_of(own).model_dump(mode="json"), called)


def _named_by_search(recipe: AdaptRecipe) -> Iterator[tuple[str, str]]:
    yield from _task_paths(recipe.task.model_dump(mode="json"), "task")
    for expert in filter(is_relative_expert, recipe.experts):
        yield f"experts = {expert!r}", expert
    if (shots := recipe.shots.path) is not None and (is_relative(shots) or _looks_local(shots)):
        yield f"shots.path = {shots!r}", shots


def _module_of(reward: RewardConfig) -> Iterator[tuple[str, str]]:
    """The file of a reward of the user's own, if its module lies here."""
    module = reward.name.partition(":")[0] if ":" in reward.name else ""
    file = Path(*(module or reward.name.rpartition(".")[0]).split("."))
    for place in (file.with_suffix(".py"), file / "__init__.py") if file.name else ():
        if place.is_file():
            yield f"reward.name = {reward.name!r} ({place})", str(place)


def _task_paths(task: dict[str, Any], name: str) -> Iterator[tuple[str, str]]:
    path = task.get("path")
    if path is not None and (is_relative(path) or _looks_local(path)):
        yield f"{name}.path = {path!r}", path
    for option in ("tasks", "others"):  # of task `kind`
        for number, inner in enumerate(task.get("options", {}).get(option, ())):
            if isinstance(inner, dict):
                yield from _task_paths(inner, f"{name}.options.{option}.{number}")


def is_relative_expert(name: str) -> bool:
    """Whether this is a relative path, here or not, rather than an id of the Hub."""
    return not Path(name).expanduser().is_absolute() and not on_hub(name)


def is_relative(path: str) -> bool:
    """Whether this names something here, and would not name it from another folder."""
    return not Path(path).expanduser().is_absolute() and Path(path).exists()


def _looks_local(path: str) -> bool:
    """Whether this is relative and cannot be a Hub id, though it is not here."""
    is_local = path.endswith(ENDINGS) or path.startswith(("./", "../"))
    return is_local and not Path(path).expanduser().is_absolute()


def run_folder(out: Path | None, name: str) -> Path:
    """The folder of a run, absolute; `runs/NAME` if none is named.

    Raises:
        ConfigError: it would lie in Ray's copy of a job's working folder, which does not last.
    """
    folder = (out or Path("runs") / name).expanduser().absolute()
    if RAY_COPIES in folder.parts:
        raise ConfigError(
            f"--out must be an absolute path in a Ray job, where the run is kept: {str(folder)!r} "
            f"lies in Ray's copy of the working folder, which Ray deletes. Add --out /DIR/{name}."
        )
    return folder
