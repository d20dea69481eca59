"""Ends what a killed process leaves behind: its children, and theirs.

    python -m jobs.watchdog PID MARK

An engine or a driver that was killed cannot end its own child processes, and Ray does not end
all of them: they would hold their memory, or a GPU, for ever. A watchdog is a child of such a
process and knows the others in two ways: it sees its descendants while it lives, and all that
were started after the watchdog carry a mark in their environment. The mark finds those that were
born between two looks, or that lost their parent before one; the looks find those that write over
their environment, as Ray's agents do once they are up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from functools import cache

import psutil

INTERVAL_S = 0.3
"""Time between two looks: less than Ray's agents take from their birth to their own name."""

LOOKS = 3
"""Looks in a row that must find nobody: one that is being killed may just be starting another."""

VARIABLE = "RLPEFT_WATCHED_BY"


def watch_me() -> None:
    """Start a watchdog for this process, once; it ends soon after this process does."""
    _watch(os.getpid())


@cache
def _watch(pid: int) -> None:
    mark = uuid.uuid4().hex
    # In a session of its own, a signal to this process's group does not reach it.
    subprocess.Popen(
        [sys.executable, "-m", "jobs.watchdog", str(pid), mark],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != VARIABLE},
    )
    # What a process inside a watched one starts belongs to both.
    os.environ[VARIABLE] = f"{os.environ.get(VARIABLE, '')}:{mark}"


def watch(pid: int, mark: str) -> None:
    """Wait until the parent `pid` is gone, then kill its descendants and whoever has its mark."""
    seen: set[psutil.Process] = set()
    while os.getppid() == pid:
        seen.update(_descendants(pid))
        time.sleep(INTERVAL_S)
    quiet_looks = 0
    while quiet_looks < LOOKS:
        left = [process for process in seen | marked(mark) if _lives(process)]
        for process in left:
            seen.update(_descendants(process.pid))
            with suppress(psutil.NoSuchProcess):
                process.kill()
        quiet_looks = 0 if left else quiet_looks + 1
        time.sleep(INTERVAL_S)


def marked(mark: str) -> set[psutil.Process]:
    """Processes that were started with this mark in their environment."""
    found = set()
    for process in psutil.process_iter():
        # Other users' processes do not show their environment, and some end while we look.
        with suppress(psutil.Error, OSError):
            if mark in process.environ().get(VARIABLE, ""):
                found.add(process)
    return found


def _lives(process: psutil.Process) -> bool:
    # psutil compares start times, so a pid that was given anew is left alone.
    with suppress(psutil.Error):
        is_other = process.pid != os.getpid() and process.is_running()
        return is_other and process.status() != psutil.STATUS_ZOMBIE
    return False


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2])
