"""Which code judges a run: one that goes on under another judge is another run.

Rewards of a user's are read as files, never imported here: they run in processes of their own.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path

ENTRY_POINT_GROUP = "rlpeft.rewards"


def reward_code(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 (hex) of the file of each reward that is not one of ours.

    What that file imports is not seen, nor a module that only a finder of its own finds.

    Args:
        names: as recipes give them; those of our own rewards are left out.
    """
    points = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    found = {}
    for name in names:
        module, colon, _ = points.get(name, name).partition(":")
        path = module_file(module) if colon else None
        if path is not None:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


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
