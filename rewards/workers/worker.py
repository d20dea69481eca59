"""The child of `rewards.workers.pool`: reads a JSON request a line, answers a JSON reply a line.

    python -m rewards.workers.worker module:function memory_mb

It limits itself before it imports the handler: address space, no core files, no new files, and
for each request the processor time, so that it ends even if its parent died meanwhile. Its
standard output belongs to the protocol; what a handler prints goes nowhere.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, BinaryIO

_SPARE_CPU_S = 1
_MAX_OPEN_FILES = 64


def main(arguments: list[str]) -> None:
    """Serve requests until standard input ends."""
    target, memory_mb = arguments
    requests, replies = _take_over_pipes()
    _limit(resource.RLIMIT_AS, int(memory_mb) * 2**20)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    module, _, name = target.partition(":")
    handler = getattr(import_module(module), name)
    _limit(resource.RLIMIT_FSIZE, 0)
    _send(replies, {"ready": True})
    for line in requests:
        request = json.loads(line)
        _limit_processor_time(request["deadline_s"])
        _send(replies, _handled(handler, request["request"]))


def _take_over_pipes() -> tuple[BinaryIO, BinaryIO]:
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    return requests, replies


def _handled(handler: Callable[[Any], Any], request: Any) -> dict[str, Any]:
    try:
        return {"value": handler(request)}
    except (Exception, MemoryError, RecursionError) as error:
        return {"error": f"{type(error).__name__}: {str(error)[:200]}"}


def _send(replies: BinaryIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply).encode() + b"\n")
    replies.flush()


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # a platform without this limit
        resource.setrlimit(kind, (ceiling, hard))


def _limit_processor_time(deadline_s: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent = usage.ru_utime + usage.ru_stime
    _limit(resource.RLIMIT_CPU, math.ceil(spent + deadline_s) + _SPARE_CPU_S)


if __name__ == "__main__":
    main(sys.argv[1:])
