"""Recipes that come with the package, and how a recipe is found: by its path or by its name."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlpeft.errors import ConfigError
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.run import Recipe, Section, parse_recipe, read_tree, validated
from rlpeft.recipe.study import StudyRecipe
from rlpeft.recipe.together import SeveralExperts, parse_together
from rlpeft.recipe.yaml import ENDINGS
from rlpeft.suggest import did_you_mean, path_meant

PACKAGED = Path(__file__).parent
ADAPT, STUDIES, TOGETHER = (PACKAGED / name for name in ("adapt", "studies", "together"))
COMMANDS = {PACKAGED: "train", TOGETHER: "train", ADAPT: "adapt", STUDIES: "study run"}
"""Which command recipes of a folder are of."""


def recipe_names(folder: Path = PACKAGED) -> list[str]:
    """Names of the packaged recipes of one kind."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def find_recipe(name: str, folder: Path = PACKAGED) -> Path:
    """The file of a recipe given as a path, or as the name of a packaged one.

    Raises:
        ConfigError: neither.
    """
    own = [known for known, verb in COMMANDS.items() if verb == COMMANDS[folder]]
    for path in (Path(name), *(known / f"{name}.toml" for known in own)):
        if path.is_file():
            return path
    names = sorted(name for known in own for name in recipe_names(known))
    for other, verb in COMMANDS.items():
        if name in recipe_names(other):
            raise ConfigError(f"{name!r} is a recipe of another command. Run: rlpeft {verb} {name}")
    meant = path_meant(Path(name), ".toml", *ENDINGS) or did_you_mean(name, names)
    raise ConfigError(
        f"a recipe must be a TOML or YAML file or one of {', '.join(names)}, got {name!r}.{meant}"
    )


def read_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Find and read a recipe; see `rlpeft.recipe.run.parse_recipe`."""
    path = find_recipe(name)
    tree = read_tree(path, tuple(overrides))
    _refuse_several(tree, path)
    _refuse_other(tree, Recipe, path)
    return parse_recipe(tree, source=str(path))


def read_together(name: str, overrides: Sequence[str] = ()) -> SeveralExperts | None:
    """Find and read a recipe of several `[[expert]]`; `None` of one without."""
    path = find_recipe(name)
    tree = read_tree(path, tuple(overrides))
    if "expert" not in tree:
        return None
    return parse_together(tree, source=str(path), overrides=overrides)


def read_adapt_recipe(name: str, overrides: Sequence[str] = ()) -> AdaptRecipe:
    """Find and read a recipe of `rlpeft adapt`, as `read_recipe` does one of `rlpeft train`."""
    path = find_recipe(name, ADAPT)
    tree = read_tree(path, tuple(overrides))
    _refuse_other(tree, AdaptRecipe, path)
    return validated(AdaptRecipe, tree, source=str(path))


def read_study(name: str) -> StudyRecipe:
    """Find and read a study of `rlpeft study run`."""
    path = find_recipe(name, STUDIES)
    return validated(StudyRecipe, read_tree(path), source=str(path))


def _refuse_several(tree: Mapping[str, Any], path: Path) -> None:
    if "expert" in tree:
        raise ConfigError(
            f"{str(path)!r} is a recipe of several [[expert]], which rlpeft train takes alone. "
            "Name that of one: recipe.json in the folder of its run, or a file with its sections."
        )


def _refuse_other(tree: Mapping[str, Any], schema: type[Section], path: Path) -> None:
    """Refuse a recipe of another command as such, and not key by key."""
    verb, other = ("adapt", AdaptRecipe) if schema is Recipe else ("train", Recipe)
    unknown = tree.keys() - schema.model_fields.keys()
    theirs = unknown & other.model_fields.keys()
    is_train = "experts" not in tree
    if theirs and is_train == (other is Recipe):
        raise ConfigError(
            f"{str(path)!r} is a recipe of another command: it has {', '.join(sorted(theirs))}. "
            f"Run: rlpeft {verb} {shlex.quote(str(path))}"
        )


def read_either_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe | AdaptRecipe:
    """Find and read a recipe of any command: one that names experts is of `rlpeft adapt`."""
    folder = ADAPT if name in recipe_names(ADAPT) else PACKAGED
    path = find_recipe(name, folder)
    tree = read_tree(path, tuple(overrides))
    _refuse_several(tree, path)
    if "experts" in tree:
        return validated(AdaptRecipe, tree, source=str(path))
    return parse_recipe(tree, source=str(path))
