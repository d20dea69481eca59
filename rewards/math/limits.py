"""What an answer may cost. Every loop over untrusted text is bounded by one of these numbers.

They are far above any answer a person would write and low enough that the slowest answer
within them takes a fraction of a second.
"""

from __future__ import annotations

MAX_CHARS = 4096  # of one answer, before normalisation
MAX_TOKENS = 1024
MAX_DEPTH = 48  # nested brackets, functions, exponents; Python's own limit is 1000 frames
MAX_DIGITS = 1000  # in one number
MAX_EXPONENT = 4000  # of a literal such as 3.2e5
MAX_BITS = 40_000  # of any integer the exact tier builds: room for 3000!
MAX_TOTAL_BITS = 400_000  # of all the integers it builds for one answer
MAX_ITEMS = 256  # of one list, set, tuple or matrix
MAX_PAIRINGS = 2048  # comparisons spent on matching two unordered lists
PHRASE_WINDOW = 4096  # characters at the end of a completion where answer phrases are looked for
MAX_MAGNITUDE = 20_000  # bits before or behind the point in the numeric tier


class Unreadable(Exception):
    """The text is no answer this package can read."""


class OverLimit(Unreadable):
    """The text is, or would evaluate to, something larger than the limits above."""


class Undefined(Exception):
    """The expression has no value (at this point): 0/0, log 0, infinity minus infinity."""
