"""Who of vLLM's processes still lives, and the end of a worker whose owner is gone.

vLLM's core process survives the death of the process that started it and keeps its memory. Its
worker ends the core when it exits, so the worker watches the owner.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

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


def await_exit_codes(processes: Sequence[BaseProcess], timeout_s: float) -> None:
    """Wait until ended children say how they ended, `timeout_s` at most.

    `join` alone returns without it where another thread, as vLLM's monitor does, has just taken
    the code from the kernel and not yet written it down.
    """
    deadline = time.monotonic() + timeout_s
    while any(process.exitcode is None for process in processes):
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)
