"""Threads that work one at a time, each when it is its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, get_ident


class Stopped(Exception):
    """There are no turns any more: whoever wanted one has to end."""


class Turns:
    """First come, first served: those who pass theirs on after each step go on alike."""

    def __init__(self) -> None:
        self._queue: deque[int] = deque()
        self._changed = Condition()
        self._is_over = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Work, once it is this thread's turn.

        Raises:
            Stopped: it will not be.
        """
        self._take()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Let others work meanwhile, and go on when it is this thread's turn again.

        Raises:
            Stopped: it will not be.
        """
        self._leave()
        try:
            yield
        finally:
            self._take()

    def pass_on(self) -> None:
        """Let all who wait have their turn, and go on after them.

        Raises:
            Stopped: this thread will have none.
        """
        with self._changed:
            self._queue.remove(get_ident())
            self._stand_in_line()

    def stop(self) -> None:
        """Give no turn any more; whoever has one keeps it until it passes it on."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _take(self) -> None:
        with self._changed:
            self._stand_in_line()

    def _stand_in_line(self) -> None:
        own = get_ident()
        self._queue.append(own)
        self._changed.notify_all()
        self._changed.wait_for(lambda: self._is_over or self._queue[0] == own)
        if self._is_over:
            raise Stopped

    def _leave(self) -> None:
        with self._changed:
            self._queue.remove(get_ident())
            self._changed.notify_all()
