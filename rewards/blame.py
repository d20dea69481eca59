"""Where in a user's own code something happened: the frame to open in an editor."""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
from pathlib import Path

_OURS = str(Path(__file__).parent)
_LIBRARIES = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")})
_MAIN = re.compile(r'host\.py", line \d+ in main$', re.MULTILINE)
_DUMPED = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+) in (?P<name>.+)')


def place_of(error: BaseException) -> str:
    """`my_rewards.py:12 in judge`: the deepest frame of an error that is neither ours nor a
    library's; the deepest that is not ours if there is none; empty without any.

    A syntax error is at its own line.
    """
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{_short(error.filename)}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    return _deepest([(f.filename, f.lineno or 0, f.name) for f in frames])


def place_in_dump(text: str) -> str:
    """The same from what `faulthandler` printed of the thread that runs this package's host."""
    for thread in re.split(r"\n(?=Thread|Current thread)", text):
        if _MAIN.search(thread):
            found = [(m["file"], int(m["line"]), m["name"]) for m in _DUMPED.finditer(thread)]
            return _deepest(found[::-1])
    return ""


def one_line(error: BaseException, limit: int = 300) -> str:
    """Type, message and place of an error, in one line."""
    place = place_of(error)
    told = message_of(error)[:limit]
    return f"{type(error).__name__}: {told}" + (f" ({place})" if place else "")


def message_of(error: BaseException) -> str:
    """What an error says, in one line; of one that cannot say it, what came instead."""
    try:
        return " ".join(str(error).split())
    except BaseException as other:
        # Recovery: an error of a user's own has a `__str__` of their own.
        return f"its message raised {type(other).__name__}"


def _deepest(frames: list[tuple[str, int, str]]) -> str:
    foreign = [f for f in frames if not _is_ours(f[0]) and not f[0].startswith("<frozen")]
    users = [f for f in foreign if not f[0].startswith(_LIBRARIES)]
    for found in (users, foreign):
        if found:
            file, line, name = found[-1]
            return f"{_short(file)}:{line} in {name}"
    return ""


def _is_ours(file: str) -> bool:
    return file.startswith(_OURS + os.sep)


def _short(file: str) -> str:
    """Relative to the working folder where it lies below it."""
    path = os.path.relpath(file) if os.path.isabs(file) else file
    return file if path.startswith("..") else path
