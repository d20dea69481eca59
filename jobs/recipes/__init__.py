"""Recipes that come with the package, and how a recipe is found: by its path or by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlpeft.config import Recipe, load_recipe
from rlpeft.errors import ConfigError

PACKAGED = Path(__file__).parent


def recipe_names() -> list[str]:
    """Names of the packaged recipes."""
    return sorted(path.stem for path in PACKAGED.glob("*.toml"))


def find_recipe(name: str) -> Path:
    """The file of a recipe given as a path, or as the name of a packaged one.

    Raises:
        ConfigError: neither.
    """
    for path in (Path(name), PACKAGED / f"{name}.toml"):
        if path.is_file():
            return path
    raise ConfigError(
        f"a recipe must be a TOML file or one of {', '.join(recipe_names())}, got {name!r}."
    )


def read_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Find and read a recipe; see `rlpeft.config.load_recipe`."""
    return load_recipe(find_recipe(name), tuple(overrides))
