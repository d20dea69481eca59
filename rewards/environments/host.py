"""The child of `rewards.environments.process`: holds the environments of all conversations.

    python -P -m rewards.environments.host REPLIES

Pipes and their rules are those of `rewards.hosted.host`. A call that is not async is interrupted at
its time limit, so that the environments of other conversations stay what they are; what cannot be
interrupted ends with the process, which the parent kills.
"""

from __future__ import annotations

import asyncio
import inspect
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

from rewards.blame import message_of, one_line, place_of
from rewards.environments.base import Nonsense, read_opening, read_step
from rewards.environments.registry import maker
from rewards.hosted.host import Channel
from rewards.hosted.wire import unpacked


class Late(BaseException):
    """The limit of a call is reached. No `Exception`, which a user's code may be waiting for."""


def main(arguments: list[str]) -> None:
    """Load what the first request names, then answer until requests end."""
    channel = Channel(int(arguments[0]))
    signal.signal(signal.SIGALRM, _interrupt)
    try:
        spec = channel.receive()
        _limit_memory(spec["memory_mb"])
        table = Table(channel, maker(spec["name"], spec["options"]), spec["timeout_s"])
        channel.send({"loaded": True})
        while (request := channel.receive()) is not None:
            table.answer(request)
    except BaseException as error:
        # Recovery: whatever a user's module raises, `SystemExit` too, is told in one line.
        channel.send({"failed": message_of(error) or one_line(error)})


class Table:
    """The conversations that go on, each with its environment."""

    def __init__(self, channel: Channel, make: Callable[[], Any], timeout_s: float) -> None:
        self._channel, self._make, self._timeout_s = channel, make, timeout_s
        self._loop = asyncio.new_event_loop()
        self._held: dict[str, Any] = {}

    def answer(self, request: Mapping[str, Any]) -> None:
        """Make the calls of a request in their order; those that are async end as they will."""
        for name in request["forget"]:
            self._held.pop(name, None)
        waiting: dict[str, Awaitable[Any]] = {}
        for call in request["calls"]:
            key, read = call["key"], READ[call["do"]]
            try:
                with self._limited():
                    found = self._called(call)
                    awaits = inspect.isawaitable(found)
                    reply = None if awaits else read(found)
            except BaseException as error:
                # Recovery: one conversation fails, the others go on.
                self._send(key, _failure(error, self._timeout_s))
                continue
            if awaits:
                waiting[key] = self._awaited(key, read, found)
                self._channel.send({"awaited": key})
            else:
                self._send(key, {"found": reply})
        if waiting:
            self._loop.run_until_complete(_all(waiting.values()))

    def _called(self, call: Mapping[str, Any]) -> Any:
        if call["do"] == "reset":
            self._held[call["name"]] = self._make()
            return self._held[call["name"]].reset(unpacked(call["row"]), call["seed"])
        return self._held[call["name"]].step(call["text"])

    async def _awaited(self, key: str, read: Callable[[Any], Any], found: Awaitable[Any]) -> None:
        due = monotonic() + self._timeout_s
        try:
            # In this very task: `SystemExit` and `KeyboardInterrupt` of another end the loop.
            async with asyncio.timeout(self._timeout_s):
                reply = {"found": read(await found)}
            _require_in_time(due)
        except BaseException as error:
            # Recovery: as in `answer`.
            reply = _failure(error, self._timeout_s)
        self._send(key, reply)

    def _send(self, key: str, reply: Mapping[str, Any]) -> None:
        self._channel.send({"of": key, **reply})

    @contextmanager
    def _limited(self) -> Iterator[None]:
        due = monotonic() + self._timeout_s
        signal.setitimer(signal.ITIMER_REAL, self._timeout_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        _require_in_time(due)


READ: dict[str, Callable[[Any], Any]] = {"reset": read_opening, "step": read_step}


async def _all(waiting: Any) -> None:
    await asyncio.gather(*waiting)


def _failure(error: BaseException, timeout_s: float) -> dict[str, Any]:
    if isinstance(error, Late | TimeoutError):
        place = place_of(error)
        where = f" (it was at {place})" if place else ""
        return {"late": f"must answer within environment.timeout_s = {timeout_s:g} s{where}"}
    if isinstance(error, Nonsense):
        return {"failed": str(error)}
    return {"failed": f"raised {one_line(error)}"}


def _require_in_time(due: float) -> None:
    """Of a call that caught its interrupt, or kept it away, and then answered all the same."""
    if monotonic() > due:
        raise Late


def _interrupt(number: int, frame: object) -> None:
    raise Late


def _limit_memory(megabytes: int | None) -> None:
    if megabytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))


if __name__ == "__main__":
    main(sys.argv[1:])
