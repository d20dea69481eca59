"""What a driver that uses Ray needs to live, noted where its parent and its reaper can read it.

Ray ends such a driver from a thread of its own, with exit code 1 as for a mistake and without a
word, and a cluster that is gone kills the jobs on it. Nothing inside the driver is sure to be
faster, so others tell of it: from this note they know that it did not end by itself, and what to
ask for the cause. It is a file without a name that all three hold open.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

INTERVAL_S = 1.0
"""How often a probe is asked, and how long it may take to answer."""

CLOSING_S = 10.0
"""How long a raylet that has ended its driver may still answer itself."""

GO_ON = "the same command continues the run from its newest checkpoint."

VARIABLE, SIZE = "RLPEFT_NOTE", 8192

SHOW_CURSOR = "\r\x1b[K\x1b[?25h"
"""For a terminal on which something drew when it was ended."""

BECAUSE = re.compile(r"exited immediately because (.+?)\.?$", re.MULTILINE)
"""A raylet's last words about an agent."""


class Probe(NamedTuple):
    """Something that must answer at a port, for as long as it is silent for `patience_s` at most.

    Attributes:
        what: names it, at the beginning of an error's line.
        advice: how to mend its absence, at the end.
        log: a file in which its last words may be; empty if there is none here.
    """

    what: str
    host: str
    port: int
    patience_s: float
    advice: str
    log: str = ""

    def ask(self) -> None:
        """Raises: OSError: it does not answer."""
        socket.create_connection((self.host, self.port), timeout=INTERVAL_S).close()

    def missed(self, silence: str) -> str:
        """The line of an error about its silence."""
        words = BECAUSE.findall(_read(self.log))
        reason = f": {words[-1]}" if words else ""
        return (
            f"error: {self.what} must answer at {self.host}:{self.port}, it has been gone for "
            f"{silence}{reason}. {self.advice}"
        )


class Note(NamedTuple):
    """What a driver depends on while it is connected.

    Attributes:
        probes: that of which the others' loss is a consequence comes first.
        are_ours: they are processes of the driver itself, which end with it.
        line: an error's line that is still to be told.
        joining, mend: a cluster that it waits for, and how to go on without.
    """

    probes: tuple[Probe, ...] = ()
    are_ours: bool = False
    line: str = ""
    joining: str = ""
    mend: str = ""


class NoteFile:
    """The file with the note; blank while its driver needs nothing, and once all is told.

    Args:
        descriptor: of an open file, the same in every process that holds it.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._lock, self._is_last = threading.Lock(), False

    def read(self) -> Note | None:
        """The note, `None` if it is blank."""
        found = json.loads(os.pread(self.descriptor, SIZE, 0) or "null")
        if found is None:
            return None
        probes, *others = found
        return Note(tuple(Probe(*each) for each in probes), *others)

    def write(self, note: Note | None, *, last: bool = False) -> None:
        """Replace the note by another, at once; after the last one nothing is written any more."""
        with self._lock:
            if not self._is_last:
                os.pwrite(self.descriptor, json.dumps(note).encode().ljust(SIZE), 0)
            self._is_last |= last


@cache
def mine() -> NoteFile | None:
    """The note that this process keeps, if its parent reads one; to be called before others start.

    They would take it for theirs.
    """
    descriptor = os.environ.pop(VARIABLE, None)
    return None if descriptor is None else NoteFile(int(descriptor))


def keep(note: Note | None, *, last: bool = False) -> bool:
    """Write this process's note; whether there is anybody who reads it."""
    if (file := mine()) is not None:
        file.write(note, last=last)
    return file is not None


@contextmanager
def dependent() -> Iterator[None]:
    """Inside, this process uses Ray; whoever ends it there has to be told of by others."""
    keep(Note())
    try:
        yield
    finally:
        keep(None)


def tell(line: str) -> None:
    """Print the line of an error, over whatever a driver was drawing."""
    clean = SHOW_CURSOR if sys.stderr.isatty() else ""
    print(f"{clean}{line}", file=sys.stderr, flush=True)


def missing(note: Note, *, patience_s: float = CLOSING_S) -> str | None:
    """The line about the first probe that fails, if any does within `patience_s`."""
    if note.line:
        return note.line
    deadline = time.monotonic() + patience_s
    while True:
        for probe in note.probes:
            try:
                probe.ask()
            except OSError as error:
                return probe.missed(f"a moment ({error})")
        if not note.probes or time.monotonic() > deadline:
            return None
        time.sleep(INTERVAL_S / 4)


def _read(log: str) -> str:
    try:
        return Path(log).read_text(errors="replace") if log else ""
    except OSError:
        return ""
