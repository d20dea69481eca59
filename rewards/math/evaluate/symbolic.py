"""The symbolic tier: what our parser leaves out is evaluated by sympy in killable workers.

Sums, products, integrals, limits, derivatives and determinants come back as closed forms, which
our own parser reads and our own rules compare: a positive never rests on sympy's word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cache

from rewards.math.limits import OverLimit, Unreadable
from rewards.math.read.answer import Answer, read
from rewards.workers.pool import Reply, WorkerPool

DEADLINE_S = 0.9  # a verdict within the second, the hand-over included
_MAX_WORKERS = 4
_EVALUABLE = re.compile(
    r"\\(?:sum|prod|i{0,2}int|lim|det|partial)(?![A-Za-z])|\\frac\{d|\\frac\s?d|\{vmatrix\}"
)


class NoVerdict(Exception):
    """The worker was killed or died: nothing is known about the answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply.value))
        self.timed_out = reply.kind == "timeout"


@cache
def _pool() -> WorkerPool:
    workers = min(_MAX_WORKERS, os.cpu_count() or 1)
    return WorkerPool(
        "rewards.math.evaluate.closed_form:closed_form", num_workers=workers, deadline_s=DEADLINE_S
    )


class SymbolicReader:
    """`read` for one batch, with the closed forms of everything in it that has to be evaluated.

    Args:
        texts: all answers of the batch; those that need it are evaluated at once, in parallel.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        hard = [text for text in dict.fromkeys(texts) if _needs_evaluation(text)]
        replies = _pool().map([{"latex": text} for text in hard]) if hard else []
        self.replies = dict(zip(hard, replies, strict=True))

    def __call__(self, text: str) -> Answer:
        """Parse an answer.

        Raises:
            Unreadable: as `read`, or sympy found no closed form.
            NoVerdict: the worker was killed at its deadline or died.
        """
        reply = self.replies.get(text)
        if reply is None:
            return read(text)
        if reply.kind != "value":
            raise NoVerdict(reply)
        if "none" in reply.value:
            raise Unreadable(reply.value["none"])
        return read(reply.value["latex"])


def _needs_evaluation(text: str) -> bool:
    if not _EVALUABLE.search(text):
        return False
    try:
        read(text)
    except OverLimit:
        return False
    except Unreadable:
        return True
    return False
