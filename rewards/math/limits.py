"""What an answer may cost. Every loop over untrusted text is bounded by one of these numbers.

They are far above any answer a person would write and low enough that the slowest answer
within them takes a fraction of a second.
"""

from __future__ import annotations

import threading

MAX_CHARS = 4096  # of one answer, before normalisation
MAX_TOKENS = 1024
MAX_DEPTH = 48  # nested brackets, functions, exponents; Python's own limit is 1000 frames
MAX_DIGITS = 1000  # in one number
MAX_EXPONENT = 4000  # of a literal such as 3.2e5
MAX_BITS = 40_000  # of any integer the exact tier builds: room for 3000!
MAX_ITEMS = 256  # of one list, set, tuple or matrix
MAX_SEARCHED = 200_000  # characters at the end of a completion that are searched at all
PHRASE_WINDOW = 4096  # characters at the end of a completion where answer phrases are looked for
MAX_MAGNITUDE = 20_000  # bits before or behind the point in the numeric tier


COMPARISON_BUDGET = 120_000  # of one comparison, in units of about a microsecond


class Unreadable(Exception):
    """The text is no answer this package can read."""


class UnknownNotation(Unreadable):
    """The text is well formed, but holds notation this package does not know."""


class OverLimit(Unreadable):
    """The text is, or would evaluate to, something larger than the limits above."""


class Undefined(Exception):
    """The expression has no value (at this point): 0/0, log 0, infinity minus infinity."""


class _Budget(threading.local):
    left = COMPARISON_BUDGET


_budget = _Budget()


def renew_budget() -> None:
    """Start a comparison: what it may cost is counted, not timed, so verdicts do not vary."""
    _budget.left = COMPARISON_BUDGET


def spend(units: int) -> None:
    """Charge the running comparison of this thread.

    Raises:
        OverLimit: its budget is spent.
    """
    _budget.left -= units
    if _budget.left < 0:
        raise OverLimit("the comparison takes too long")
