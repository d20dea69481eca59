"""Warnings of ours, as a command tells them: a note, without the line of code that it is about."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import rlpeft
from rlpeft.terminal import note

OURS = Path(rlpeft.__file__).parents[1]
PACKAGES = ("rewards", "rlpeft", "jobs")


def tell_as_notes() -> None:
    """Show warnings of our packages as notes from now on; those of libraries stay as they are."""
    warnings.showwarning = partial(_show, warnings.showwarning)


def _show(
    before: Any, message: Warning | str, category: type[Warning], filename: str, *rest: Any
) -> None:
    if any(Path(filename).is_relative_to(OURS / package) for package in PACKAGES):
        note(str(message))
    else:
        before(message, category, filename, *rest)
