"""Values and messages between the judge and the program under test.

The program is hostile, so the judge never unpickles: values travel as JSON and become plain
built-in types only. Everything else stays in the program and is named by a handle.
"""

from __future__ import annotations

import builtins
import json
import os
from collections import deque
from collections.abc import Callable
from typing import Any

MAX_BYTES = 16 << 20
"""Longest message either side reads."""

_MAX_DEPTH = 60
_SAFE_INT = 1 << 53


class WireError(Exception):
    """The other side is gone, or sent something that cannot be read."""


def encode(value: Any, handle: Callable[[Any], int], depth: int = 0) -> Any:
    """Return `value` as JSON data; what is no plain value becomes the handle of it.

    Subclasses travel as their base type, so that an overridden `__eq__` stays behind.
    """
    if depth > _MAX_DEPTH:
        raise WireError(f"a value is nested deeper than {_MAX_DEPTH}")

    def inner(items: Any) -> list[Any]:
        return [encode(item, handle, depth + 1) for item in items]

    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        number = int(value)
        return number if abs(number) < _SAFE_INT else {"int": hex(number)}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return inner(value)
    for tag, kind in (("tuple", tuple), ("set", set), ("frozenset", frozenset), ("deque", deque)):
        if isinstance(value, kind):
            return {tag: inner(value)}
    if isinstance(value, dict):
        return {"dict": [inner(pair) for pair in value.items()]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, range):
        return {"range": inner([value.start, value.stop, value.step])}
    name = getattr(value, "__name__", None)
    if isinstance(name, str) and getattr(builtins, name, None) is value:
        return {"builtin": name}
    return {"handle": handle(value)}


def decode(data: Any, resolve: Callable[[int], Any]) -> Any:
    """Return the value behind JSON data; `resolve` gives the object of a handle."""
    if isinstance(data, list):
        return [decode(item, resolve) for item in data]
    if not isinstance(data, dict):
        return data
    ((tag, content),) = data.items()
    if tag == "int":
        return int(content, 16)
    if tag == "handle":
        return resolve(int(content))
    if tag == "bytes":
        return bytes.fromhex(content)
    if tag == "builtin":
        return getattr(builtins, content)
    items = decode(content, resolve)
    if tag == "dict":
        return dict(items)
    if tag in ("complex", "range"):
        return {"complex": complex, "range": range}[tag](*items)
    return {"tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}[tag](items)


class Channel:
    """JSON messages over a pair of file descriptors, each preceded by its length."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd

    def send(self, message: Any) -> None:
        """Send one message, or raise `WireError`."""
        body = json.dumps(message).encode()
        if len(body) > MAX_BYTES:
            raise WireError(f"a message is longer than {MAX_BYTES} bytes")
        data = memoryview(len(body).to_bytes(4, "big") + body)
        try:
            while data:
                data = data[os.write(self._write_fd, data) :]
        except OSError as error:
            raise WireError("the other side is gone") from error

    def receive(self) -> Any:
        """Return the next message, or raise `WireError`."""
        length = int.from_bytes(self._exactly(4), "big")
        if length > MAX_BYTES:
            raise WireError(f"a message is longer than {MAX_BYTES} bytes")
        try:
            return json.loads(self._exactly(length))
        except (ValueError, RecursionError) as error:
            raise WireError("a message cannot be read") from error

    def _exactly(self, length: int) -> bytes:
        parts = []
        while length:
            part = os.read(self._read_fd, min(length, 1 << 20))
            if not part:
                raise WireError("the other side is gone")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)
