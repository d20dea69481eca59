"""Composition roots: the only package that imports Ray."""

from pkgutil import resolve_name
from typing import Any

import rlpeft as rlpeft  # which looks for what would hide `rewards`, before a program fails by it


def __getattr__(name: str) -> Any:
    """`jobs.train`, on a cluster what `rlpeft.train` is in one process.

    The module of that name is a command, `python -m jobs.train`, which nothing imports.
    """
    if name == "train":
        return resolve_name("jobs.cluster.from_python:train")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
