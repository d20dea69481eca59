"""Our commands as they can be typed here: before an environment is active, by their path."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

COMMAND = "rlpeft"

MENTIONED = re.compile(
    rf"(?<![\w/.-]){COMMAND} (new|train|sft|submit|status|logs|stop|jobs|fetch|doctor|evaluate"
    r"|adapt|generate|serve|export|push|report|bench|env|cem|experts|analyze|compare|models|recipe"
    r"|reward|study)\b"
)
"""A command in a sentence; a test holds it against those there are."""


def program() -> str:
    """`rlpeft` if the shell finds this environment's, else its path.

    It lies beside the interpreter; an active environment has that folder on its PATH.
    """
    script = Path(sys.executable).with_name(COMMAND)
    found = shutil.which(COMMAND)
    if not script.is_file() or (found is not None and os.path.samefile(found, script)):
        return COMMAND
    relative = os.path.relpath(script)
    return shlex.quote(str(script) if relative.startswith(os.pardir) else relative)


def typeable(text: str) -> str:
    """The text, with the commands of ours that it names as they can be typed here."""
    return MENTIONED.sub(lambda match: f"{program()} {match[1]}", text)


def without(option: str, arguments: Sequence[str]) -> list[str]:
    """The arguments without an option and its value, wherever it stands.

    >>> without("--out", ["adapt", "--out", "a", "mine", "--out=b"])
    ['adapt', 'mine']
    """
    following = [False, *(each == option for each in arguments)]
    return [
        each
        for each, is_value in zip(arguments, following, strict=False)
        if not (is_value or each == option or each.startswith(f"{option}="))
    ]


def this_command(arguments: Sequence[str] | None = None) -> str:
    """The command that is running, as it can be typed again."""
    given = sys.argv if arguments is None else arguments
    if Path(given[0]).suffix == ".py":  # by `python -m jobs.train`
        return shlex.join(["python", "-m", f"jobs.{Path(given[0]).stem}", *given[1:]])
    return f"{program()} {shlex.join(given[1:])}"
