"""Event loops where no socket may be made: asyncio wakes its loops over a pair of them."""

from __future__ import annotations

import os
from typing import Any

_SLICE_S = 0.002


def install() -> Any:
    """Make asyncio work in this confined process, and return it."""
    import asyncio

    loop: Any = asyncio.selector_events.BaseSelectorEventLoop
    loop._make_self_pipe = _make_self_pipe
    return asyncio


def _make_self_pipe(loop: Any) -> None:
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    loop._ssock, loop._csock = _End(read_fd), _End(write_fd)
    loop._internal_fds += 1
    loop._add_reader(read_fd, loop._read_from_self)


class _End:
    """The end of a pipe with the methods of a socket."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def recv(self, size: int) -> bytes:
        return os.read(self._fd, size)

    def send(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def close(self) -> None:
        os.close(self._fd)


class Loop:
    """The program's loop, on which the tests await what the program returns."""

    def __init__(self) -> None:
        self._asyncio: Any = None
        self._loop: Any = None

    def task(self, awaitable: Any) -> Any:
        """Begin to run `awaitable`."""
        if self._asyncio is None:
            self._asyncio = install()
        if self._loop is None:
            self._loop = self._asyncio.new_event_loop()

        async def run() -> Any:
            return await awaitable

        return self._loop.create_task(run())

    def step(self, task: Any) -> tuple[Any, ...]:
        """Let the loop run for a moment; return the result of `task` if it is done."""
        wait = self._asyncio.wait({task}, timeout=_SLICE_S)
        self._loop.run_until_complete(wait)
        return (task.result(),) if task.done() else ()
