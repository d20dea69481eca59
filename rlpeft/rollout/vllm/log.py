"""What vLLM writes: into a file of its own, which is read when one of its processes dies.

On a terminal it would bury a run's own progress, and the line that says why an engine died would
be lost among hundreds.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "RLPEFT_VLLM_LOG"
"""Tells vLLM's processes, and theirs, where to write: PID of the engine's owner, colon, path."""

MAX_LINE = 500
"""Characters of a line that are told: a model's output may be part of it."""

_PREFIX = re.compile(
    r"^(?:\([^)]{1,60}\) )?(?:(?P<level>[A-Z]+) \d\d-\d\d [\d:]{8} \[[^\]]{1,80}\] ?)?"
)
_RAISED = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt)(?::|$)")
_ABORTED = re.compile(r"^(?:terminate called|Fatal Python error|Segmentation fault|Killed)")


def redirect() -> None:
    """Let this process write into its engine's log, if vLLM started it for an engine of ours."""
    owner, _, path = os.environ.get(VARIABLE, "").partition(":")
    if path and owner != str(os.getpid()):
        with open(path, "ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)


class VllmLog:
    """The log of one engine.

    Attributes:
        path: the file; it stays unless `remove` is called.
    """

    def __init__(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix="rlpeft-vllm-", suffix=".log")
        os.close(descriptor)
        self.path = Path(name)
        self._read = 0

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that processes of this engine must be started with."""
        return {VARIABLE: f"{os.getpid()}:{self.path}"}

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect what vLLM's code says in this process meanwhile."""
        logger, ours = logging.getLogger("vllm"), logging.FileHandler(self.path)
        handlers = logger.handlers[:]
        form = "%(levelname)s %(asctime)s [%(name)s] %(message)s"
        ours.setFormatter(logging.Formatter(form, datefmt="%m-%d %H:%M:%S"))
        logger.handlers[:] = [ours]
        try:
            yield
        finally:
            logger.handlers[:] = handlers
            ours.close()

    def mark(self) -> None:
        """All so far belongs to calls that went well."""
        self._read = self.path.stat().st_size

    def first_error(self) -> str | None:
        """The line since the last mark that says what went wrong first."""
        with self.path.open(errors="replace") as lines:
            lines.seek(self._read)
            return first_error(lines)

    def remove(self) -> None:
        """Delete the file: nobody will ask."""
        self.path.unlink(missing_ok=True)


def first_error(lines: Iterable[str]) -> str | None:
    """The first line that names an exception or an abort, else the first that is an error.

    >>> first_error(["(Worker pid=7) ERROR 11-29 09:36:59 [core.py:5] KeyError: 'z'"])
    "KeyError: 'z'"
    """
    error = None
    for line in lines:
        found = _PREFIX.match(line)
        assert found is not None  # every part of it may be absent
        said = line[found.end() :].strip()[:MAX_LINE]
        if _RAISED.match(said) or _ABORTED.match(said):
            return said
        if error is None and found["level"] in ("ERROR", "CRITICAL") and said:
            error = said
    return error
