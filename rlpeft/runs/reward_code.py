"""Which code judges a run: one that goes on under another judge is another run.

Rewards of a user's are read as files, never imported here: they run in processes of their own.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlpeft.recipe.scorer import Functions  # needs pydantic, which --help does not wait for

ENTRY_POINT_GROUP = "rlpeft.rewards"


def reward_code(names: Iterable[str], functions: Functions | None = None) -> dict[str, str]:
    """SHA-256 (hex) of the file of each reward that is not one of ours.

    What that file imports is not seen, nor a module that only a finder of its own finds. Of a
    function that no other process can import it is that of its own lines, where they can be read.

    Args:
        names: as recipes give them; those of our own rewards are left out.
        functions: those that this process has as objects.
    """
    from importlib.metadata import entry_points  # a tenth of the time that --help takes

    points = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    found: dict[str, str] = {}
    for name in names:
        if functions and name in functions and not can_be_imported(name):
            lines = source_of(functions[name])
            found |= {name: hashlib.sha256(lines.encode()).hexdigest()} if lines else {}
            continue
        module, colon, _ = points.get(name, name).partition(":")
        path = module_file(module) if colon else None
        if path is not None:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def can_be_imported(name: str) -> bool:
    """Whether another process finds the function that is named, by its module.

    >>> can_be_imported("mine:tidy"), can_be_imported("__main__:tidy")
    (True, False)
    """
    return not name.startswith("__main__:") and "<" not in name


def source_of(function: Callable[..., Any]) -> str:
    """The lines of a function; empty where they are kept nowhere, as of those typed at a prompt."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ""


def module_file(module: str) -> Path | None:
    """The file of a module, found as an import would find it but without running anything."""
    places = [place or os.getcwd() for place in (*sys.path, "")]
    *parents, last = module.split(".")
    for parent in parents:
        spec = PathFinder.find_spec(parent, places)
        if spec is None or spec.submodule_search_locations is None:
            return None
        places = list(spec.submodule_search_locations)
    spec = PathFinder.find_spec(last, places)
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
