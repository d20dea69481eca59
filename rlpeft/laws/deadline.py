"""A limit of time for what a model brings: a chat template is a program, and may never end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class OvertimeError(BaseException):
    """Time is up; no `Exception`, since whoever renders templates takes these for refusals."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End the body once it takes longer, where signals can: in the main thread.

    Raises:
        OvertimeError: it took longer.
    """

    def stop(number: int, frame: object) -> None:
        raise OvertimeError(f"it took more than {seconds:g} s")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGALRM, stop)
    others = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *others)
        signal.signal(signal.SIGALRM, former)
