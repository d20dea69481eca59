"""Whether somebody is at work in a run's folder: its driver holds a lock while it lives."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import IO, Any

LOCK_FILE = ".lock"

LOOKS, LOOK_S = 10, 0.02
"""How often a driver tries to take the lock: whoever only looks is gone in an instant."""


def take(lock: IO[Any]) -> bool:
    """Take the lock until the file is closed; `False` where another driver has it."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOOK_S)
        else:
            return True
    return False


def has_driver(folder: Path) -> bool:
    """Whether a driver of this machine is at work in a run's folder."""
    path = folder / LOCK_FILE
    if not path.is_file():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
