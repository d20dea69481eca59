"""A limit of time for what a model brings: a chat template is a program, and may never end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class OvertimeError(BaseException):
    """Time is up; no `Exception`, since whoever renders templates takes these for refusals.

    Attributes:
        limit: the seconds that were over.
    """

    def __init__(self, limit: float) -> None:
        super().__init__(f"it took more than {limit:g} s")
        self.limit = limit


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End the body once it takes longer, where signals can: in the main thread.

    Within another deadline that is nearer, that one holds.

    Raises:
        OvertimeError: it took longer.
    """

    def stop(number: int, frame: object) -> None:
        raise OvertimeError(seconds)

    outer, _ = signal.getitimer(signal.ITIMER_REAL)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or 0 < outer <= seconds:
        yield
        return
    begun, former = time.monotonic(), signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        # What the body took is gone for the outer one, too; zero would be no limit at all.
        left = max(outer - (time.monotonic() - begun), 1e-6) if outer else 0.0
        signal.signal(signal.SIGALRM, former)
        signal.setitimer(signal.ITIMER_REAL, left)
