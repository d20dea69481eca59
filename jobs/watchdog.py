"""Ends what a killed process leaves behind: its children, and theirs.

    python -m jobs.watchdog PID

An engine or a driver that was killed cannot end its own child processes, and Ray does not end
all of them: they would hold their memory, or a GPU, for ever. A watchdog is a child of such a
process, sees its other descendants while it lives, and kills those that outlive it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

INTERVAL_S = 1.0
"""Time between two looks; a descendant younger than this may be missed."""


def watch_me() -> None:
    """Start a watchdog for this process; it ends soon after this process does."""
    # In a session of its own, a signal to this process's group does not reach it.
    command = [sys.executable, "-m", "jobs.watchdog", str(os.getpid())]
    subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)


def watch(pid: int) -> None:
    """Wait until the parent `pid` is gone, then kill its descendants."""
    seen: set[psutil.Process] = set()
    while os.getppid() == pid:
        seen.update(_descendants(pid))
        time.sleep(INTERVAL_S)
    for process in seen:
        # psutil compares start times, so a pid that was given anew is left alone.
        if process.pid != os.getpid() and process.is_running():
            process.kill()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    watch(int(sys.argv[1]))
