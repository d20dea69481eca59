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
    """Show each warning of our packages once, as a note; those of libraries stay as they are."""
    warnings.showwarning = partial(_show, warnings.showwarning, set[str]())


def _show(
    before: Any,
    told: set[str],
    message: Warning | str,
    category: type[Warning],
    filename: str,
    *rest: Any,
) -> None:
    if not any(Path(filename).is_relative_to(OURS / package) for package in PACKAGES):
        before(message, category, filename, *rest)
    elif (text := str(message)) not in told:  # Python forgets, whenever a library catches some
        told.add(text)
        note(text)
