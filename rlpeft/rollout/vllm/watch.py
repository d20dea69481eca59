"""End a vLLM worker whose owner is gone.

vLLM's core process survives the death of the process that started it and keeps its memory. Its
worker ends the core when it exits, so the worker watches the owner.
"""

from __future__ import annotations

import os
import threading
import time

import psutil

INTERVAL_S = 1.0


def exit_with(pid: int) -> None:
    """End this process, from a thread, soon after process `pid` has ended."""
    if pid != os.getpid():
        owner = psutil.Process(pid)  # remembers the start time: a reused pid is not the owner
        threading.Thread(target=_watch, args=(owner,), daemon=True).start()


def _watch(owner: psutil.Process) -> None:
    while is_alive(owner):
        time.sleep(INTERVAL_S)
    os._exit(1)  # not sys.exit: that would end this thread alone


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs: one that has ended and was not waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
