"""Requests between two processes that do not trust each other.

Of the two sides only one runs at a time, the other waits for its answer, and may be asked while
it waits.
"""

from __future__ import annotations

import threading
from typing import Any

from rewards.code.bridge.codec import Codec
from rewards.code.bridge.wire import Channel, OverLimit, WireError


class Bridge(Codec):
    """One end; `perform` says what the other may ask.

    Args:
        channel: to the other end.
        first: 0 at one end, 1 at the other, so that both number containers without asking.
    """

    def __init__(self, channel: Channel, first: int) -> None:
        super().__init__(first)
        self.channel = channel
        self.lock = threading.RLock()

    # --- what an end decides for itself ---------------------------------------------------------

    def perform(self, operation: str, arguments: list[Any]) -> Any:
        """Answer a request of the other side; raises whatever it raises."""
        raise NotImplementedError

    def refuse(self, reason: str) -> None:
        """Raise because something cannot be done across processes."""
        raise TypeError(reason)

    def special(self, target: Any, name: str, *arguments: Any) -> Any:
        """Apply an operator of a mirror."""
        return self.request("special", target, name, *arguments)

    def get(self, target: Any, name: str) -> Any:
        """Read an attribute of a mirror."""
        return self.request("get", target, name)

    def call(self, target: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Call a mirror."""
        return self.request("call", target, arguments, tuple(options.items()))

    # --- requests -------------------------------------------------------------------------------

    def request(self, operation: str, *arguments: Any) -> Any:
        """Ask the other side and return its answer, or raise what it raised."""
        with self.lock:
            parts = self.parts()
            data = [self.encode(argument) for argument in arguments]
            self.channel.send({"op": operation, "args": data} | parts)
            return self.result(operation, arguments)

    def result(self, operation: str, arguments: tuple[Any, ...] = ()) -> Any:
        """Wait for an answer; the other side may ask something first."""
        while True:
            message = self.channel.receive()
            if not isinstance(message, dict):
                raise WireError("a message is no message")
            self.absorb(message)
            if "op" in message:
                self.serve(message)
            elif "raised" in message:
                error = self.decode(message["raised"])
                if not isinstance(error, BaseException):
                    raise WireError("what was raised is no exception")
                raise self.raised(error, operation, arguments)
            elif "broken" in message:
                kind = OverLimit if message.get("limit") else WireError
                raise kind(str(message["broken"])[:300])
            else:
                return self.decode(message.get("value"))

    def raised(
        self, error: BaseException, operation: str, arguments: tuple[Any, ...]
    ) -> BaseException:
        """Return what to raise here for an exception of the other side."""
        return error

    def serve(self, message: dict[str, Any]) -> None:
        """Answer one request."""
        try:
            arguments = [self.decode(item) for item in message["args"]]
            value = self.perform(str(message["op"]), arguments)
            parts = self.parts()
            reply = {"value": self.encode(value)}
        except WireError as error:
            self.caught(error)
            parts, reply = {}, {"broken": str(error), "limit": isinstance(error, OverLimit)}
        except BaseException as error:
            self.caught(error)
            parts = self.parts()
            reply = {"raised": self.encode(error)}
        try:
            self.channel.send(reply | parts)
        except WireError as error:
            self.channel.send({"broken": str(error)})

    def caught(self, error: BaseException) -> None:
        """See an exception before it is sent; may raise it to keep it here."""
