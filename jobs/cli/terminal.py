"""Text in the columns of a terminal: sentences are broken, paths and commands never.

They are there to be copied, and a broken one is another.
"""

from __future__ import annotations

import os
import shutil
import textwrap

UNLIMITED = 10_000
"""Columns where nobody looks: a pipe, a file."""


def terminal_width() -> int:
    """Columns of the terminal, or of `COLUMNS`; `UNLIMITED` where there is neither."""
    return shutil.get_terminal_size((UNLIMITED, 24)).columns


def paragraph(text: str, *, width: int, indent: str = "", hanging: str = "") -> str:
    """A sentence in lines of so many columns; only what has no blank is longer.

    Args:
        indent, hanging: what the first line and the others begin with.
    """
    return textwrap.fill(
        text,
        max(width, 20),
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def labelled(label: str, value: str, *, column: int, width: int, whole: bool = False) -> str:
    """A value beside its label, or below it where it has no room there and cannot be broken.

    Args:
        column: where values begin.
        whole: never break it: a command.
    """
    start, blank = f"{label:<{column}}", " " * column
    beside = start + value
    if not whole:
        beside = paragraph(value, width=width, indent=start, hanging=blank)
    if all(len(line) <= width for line in beside.splitlines()):
        return beside
    below = value if whole else paragraph(value, width=width - 2, hanging="  ")
    return f"{label}\n  {below}"


def near_path(path: str) -> str:
    """A path as it is shortest from here.

    >>> near_path(os.path.join(os.getcwd(), "runs"))
    'runs'
    """
    relative = os.path.relpath(path)
    return min(path, relative, key=len) if not relative.startswith(os.pardir) else path
