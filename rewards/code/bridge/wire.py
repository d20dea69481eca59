"""Messages between processes that do not trust each other: JSON, bounded, never unpickled."""

from __future__ import annotations

import json
import os
from typing import Any

MAX_BYTES = 16 << 20
"""Longest message either side reads."""


class WireError(Exception):
    """The other side is gone, or sent something that cannot be read."""


class OverLimit(WireError):
    """A value cannot travel by a limit of ours, which says nothing about it."""


class Channel:
    """JSON messages over a pair of file descriptors, each preceded by its length."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd

    def send(self, message: Any) -> None:
        """Send one message, or raise `WireError`."""
        try:
            body = json.dumps(message).encode()
        except RecursionError as error:
            raise WireError("a message is nested too deeply") from error
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
