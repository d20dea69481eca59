"""Own rewards that are not where a recipe says: told by their files, nothing of which is run."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from rewards.errors import RewardError
from rewards.plugins import is_built_in, load
from rlpeft.runs.reward_code import ENTRY_POINT_GROUP, can_be_imported, module_file
from rlpeft.suggest import did_you_mean

DYNAMIC = frozenset({"__getattr__", "exec", "globals", "setattr", "vars"})
"""Names in a module by which it may have attributes that its text does not show."""


def refuse_absent(names: Iterable[str]) -> None:
    """Refuse rewards that no import would find; what only an import can tell is left to the run.

    Raises:
        RewardError: there is no such built-in, module or function, or its file is no Python.
    """
    for name in names:
        if is_built_in(name) or not can_be_imported(name):
            continue
        if ":" not in name and "." not in name:
            if not entry_points(group=ENTRY_POINT_GROUP, name=name):
                load(name, {})  # says which there are
            continue
        module, _, function = name.rpartition(":") if ":" in name else name.rpartition(".")
        _refuse_absent(name, module, function)


def _refuse_absent(name: str, module: str, function: str) -> None:
    told = f"reward {name!r} must name an importable function, got"
    file = module_file(module)
    if file is None:
        if not _is_findable(package := module.partition(".")[0]):
            raise RewardError(
                f"{told} no module {package!r}, neither installed nor in {os.getcwd()!r}. Check "
                "the path, or start from the folder that holds the module."
            )
        return
    try:
        known = _names_in(file)
    except SyntaxError as error:
        raise RewardError(
            f"{told} a mistake in line {error.lineno} of {str(file)!r}: {error.msg}. Mend it."
        ) from error
    if known is not None and function not in known:
        near = did_you_mean(function, sorted(known))
        raise RewardError(f"{told} no {function!r} in {str(file)!r}.{near}")


def _is_findable(package: str) -> bool:
    """Whether an import would find it, by any finder there is: only a module's parents are run."""
    places = [*sys.path, os.getcwd()]
    return PathFinder.find_spec(package, places) is not None or find_spec(package) is not None


def _names_in(file: Path) -> set[str] | None:
    """The names that a module binds, wherever; `None` where its text does not show them all.

    Raises:
        SyntaxError: it is no Python.
    """
    if file.suffix != ".py":
        return None
    nodes = list(ast.walk(ast.parse(file.read_bytes())))
    imported = {
        alias.asname or alias.name
        for node in nodes
        for alias in getattr(node, "names", ())
        if isinstance(alias, ast.alias)
    }
    defined = {node.name for node in nodes if isinstance(node, DEFINITIONS)}
    stored = {node.id for node in nodes if isinstance(node, ast.Name)}
    return None if "*" in imported or DYNAMIC & (defined | stored) else imported | defined | stored


DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
