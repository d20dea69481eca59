"""A row of the doctor's table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import quantiles


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table.

    Attributes:
        name: what was looked at.
        found: what was seen, with its numbers.
        advice: how to mend it; empty if there is nothing to mend or `found` says it.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


def ok(name: str, found: str) -> Check:
    """A row with nothing to mend."""
    return Check(name, Status.OK, found)


def warn(name: str, found: str, advice: str) -> Check:
    """A row a person should know of."""
    return Check(name, Status.WARN, found, advice)


def fail(name: str, found: str, advice: str) -> Check:
    """A row that must be mended."""
    return Check(name, Status.FAIL, found, advice)


def spread(lengths: Sequence[int]) -> str:
    """Median, 95th percentile and largest of some lengths.

    >>> spread([1, 2, 3])
    'median 2, 95 % within 3, longest 3'
    """
    if len(lengths) < 2:
        return f"longest {max(lengths)}"
    cuts = quantiles(lengths, n=20, method="inclusive")
    return f"median {cuts[9]:.0f}, 95 % within {math.ceil(cuts[18])}, longest {max(lengths)}"
