"""Text in the columns of a terminal: sentences are broken, paths and commands never.

They are there to be copied, and a broken one is another. What strangers wrote, a model or the
author of an expert, is shown and not obeyed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from logging import LogRecord

UNLIMITED = 10_000
"""Columns that fold nothing."""

PIPED = 80
"""Columns of a pipe or a file, which somebody opens later."""


OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal acts on, or shows other letters by, or cannot be given: all control characters
but the end of a line and the tab, changes of the direction of writing, halves of surrogates."""


def printable(text: str) -> str:
    """A text in which all that a terminal would obey is spelled out.

    >>> printable("red: \\x1b[31m")
    'red: \\\\x1b[31m'
    """
    return OBEYED.sub(lambda found: repr(found[0])[1:-1], text)


def terminal_width() -> int:
    """Columns of the terminal, or of `COLUMNS`; `PIPED` where there is neither."""
    return shutil.get_terminal_size((PIPED, 24)).columns


_OF: ContextVar[str] = ContextVar("_OF", default="")
"""What sentences of this thread begin with."""


@contextmanager
def telling_of(name: str) -> Iterator[None]:
    """Have each sentence of this thread begin with a name: others tell of theirs beside it."""
    before = _OF.set(f"{name}: ")
    try:
        yield
    finally:
        _OF.reset(before)


def say(text: str, whole: str = "", *, err: bool = False) -> None:
    """Print a sentence in lines of the terminal's width.

    Args:
        whole: a command or path to end it with, never broken.
        err: on the error stream, beside what a command is asked for.
    """
    lines = ended_with(f"{_OF.get()}{text}", whole, width=terminal_width())
    print(lines, file=sys.stderr if err else sys.stdout, flush=True)


def note(text: str, whole: str = "") -> None:
    """Tell on the error stream what a run goes on with; see `say`."""
    say(f"note: {text}", whole, err=True)


def note_each(lines: Iterable[str]) -> None:
    """Tell each of what was found on the way, now that it goes on."""
    for line in lines:
        note(line)


def ended_with(text: str, whole: str, *, width: int) -> str:
    """A sentence in lines, and what it ends with, on a line of its own where there is no room.

    >>> ended_with("to go on:", "rlpeft train mine.toml", width=20).splitlines()
    ['to go on:', '  rlpeft train mine.toml']
    """
    lines, whole = paragraph(text, width=width), printable(whole)
    if not whole:
        return lines
    beside = len(lines.rpartition("\n")[2]) + 1 + len(whole) <= width
    return f"{lines}{' ' if beside else chr(10) + '  '}{whole}"


def paragraph(text: str, *, width: int, indent: str = "", hanging: str = "") -> str:
    """A sentence in lines of so many columns; only what has no blank is longer.

    Args:
        indent, hanging: what the first line and the others begin with.
    """
    return textwrap.fill(
        printable(text),
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
    start, blank, value = f"{label:<{column}}", " " * column, printable(value)
    beside = start + value
    if not whole:
        beside = paragraph(value, width=width, indent=start, hanging=blank)
    if all(len(line) <= width for line in beside.splitlines()):
        return beside
    below = value if whole else paragraph(value, width=width - 2, hanging="  ")
    return f"{label}\n  {below}"


def score_shown(score: float) -> str:
    """A mean of scores in three decimals, or in three digits where these show less of it.

    >>> score_shown(12.5), score_shown(0.0), score_shown(0.01342)
    ('12.500', '0.000', '0.0134')
    """
    return f"{score:.3f}" if not score or abs(score) >= 0.1 else f"{score:.3g}"


def near_path(path: str) -> str:
    """A path as it is shortest from here.

    >>> near_path(os.path.join(os.getcwd(), "runs"))
    'runs'
    """
    relative = os.path.relpath(path)
    return min(path, relative, key=len) if not relative.startswith(os.pardir) else path


def _is_news(record: LogRecord) -> bool:
    return "(between 0 and 31999), got 128002" not in record.getMessage()


def quiet_libraries() -> None:
    """Keep the libraries' own progress bars out of ours, and what is no news to a user."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    # It warns of every group of processes that its own trainer has not made.
    logging.get_logger("transformers.training_args").setLevel(logging.ERROR)
    # And of the pad token of Idefics3's default config, which it makes to compare others with.
    logging.get_logger("transformers.configuration_utils").addFilter(_is_news)
