"""A folder to start a task of one's own from: a recipe, rows, and what Python these two need."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

from rlpeft.errors import ConfigError
from rlpeft.files import make_folder, replacing_folder
from rlpeft.models.folder import PACKAGED
from rlpeft.recipe.run import parse_recipe
from rlpeft.recipe.toml import toml_value
from rlpeft.shadow import PACKAGES

STARTS = Path(__file__).parent / "new"
"""A folder for each kind of task, copied but for the two names in its recipe."""

RECIPE = "recipe.toml"


def write_start(folder: Path, *, kind: str, model: str) -> list[str]:
    """Write the start of a task of a kind, whole or not at all; gives the names of its files.

    Args:
        folder: where; its name becomes the recipe's.
        kind: a folder of `STARTS`.
        model: as `model.name` has it; a folder is named by its absolute path.

    Raises:
        ConfigError: something is there already, or the folder's name cannot be a recipe's.
        FileError: it cannot be written.
    """
    if folder.exists() or folder.is_symlink():
        raise ConfigError(
            f"NAME must be that of a new folder, {str(folder)!r} is there already and stays as it "
            "is. Take another name."
        )
    if folder.name in (*PACKAGES, "rlpeft"):
        raise ConfigError(
            f"NAME must be none of our packages', got {folder.name!r}: a folder of that name hides "
            "it from Python. Take another name."
        )
    text = _recipe(STARTS / kind / RECIPE, name=folder.name, model=_from_within(model))
    make_folder(folder.parent)
    with replacing_folder(folder) as partial:
        shutil.copytree(
            STARTS / kind, partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
        (partial / RECIPE).write_text(text, encoding="utf-8")
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _recipe(template: Path, *, name: str, model: str) -> str:
    text = template.read_text(encoding="utf-8")
    text = text.replace('"@NAME@"', toml_value(name)).replace('"@MODEL@"', toml_value(model))
    parse_recipe(tomllib.loads(text), source=RECIPE)  # the name is checked before it is there
    return text


def _from_within(model: str) -> str:
    """The model as it is named from another folder."""
    path = Path(model).expanduser()
    return str(path.absolute()) if model not in PACKAGED and path.is_dir() else model
