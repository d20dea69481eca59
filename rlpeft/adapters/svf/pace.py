"""Long work tells how fast it goes and how long it will take yet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

EVERY_S = 10.0
"""Time between two lines, and before the first: what takes less says nothing."""


def paced(items: Sequence[T], what: str, *, cost: Callable[[T], float]) -> Iterator[T]:
    """Hand out items one after the other, with a line to stderr now and then.

    Args:
        cost: how long an item takes, in any unit: they may be of very different sizes.
    """
    costs = [cost(item) for item in items]
    started = told = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - told >= EVERY_S and done < len(items):
            told = now
            left_s = (now - started) * sum(costs[done:]) / sum(costs[:done])
            print(line(what, done, len(items), now - started, left_s), file=sys.stderr, flush=True)


def line(what: str, done: int, total: int, seconds: float, left_s: float) -> str:
    """Progress in words.

    >>> line("decomposing weights", 84, 210, 16.0, 24.0)
    'decomposing weights: 84 of 210, 5.2/s, 0:24 left'
    """
    minutes, rest = divmod(round(left_s), 60)
    return f"{what}: {done} of {total}, {done / seconds:.2g}/s, {minutes}:{rest:02d} left"
