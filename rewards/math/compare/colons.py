"""What a colon writes: ratios and times of day. 6:4 is 3:2, but 6:40 is not 3:20."""

from __future__ import annotations

import math
from fractions import Fraction

from rewards.math.compare.exact import exact
from rewards.math.limits import Undefined
from rewards.math.nodes import Group, Node, Number, Quantity, Text
from rewards.math.policy import MathPolicy

_TIMES = ("clock", "time")
_HALF_DAY = 12 * 3600
# "3 pm" is read as picometres: no clock shows them.
_HALVES = {"am": 0, "pm": _HALF_DAY, "picometer": _HALF_DAY}
_NAMED = {"noon": _HALF_DAY, "midday": _HALF_DAY, "midnight": 0}


def same_time(gold: Node, answer: Node) -> bool | None:
    """Whether two times of day are one; `None` where that is not what the two are.

    3:45 PM is 15:45; where one side leaves out which half of the day it means, 3:45 is it too.
    Two bare times, 6:40 and 3:20, may be anything: they are compared part for part elsewhere.
    """
    first, second = _time(gold), _time(answer)
    if first is None or second is None:
        return None
    (seconds, is_whole), (others, other_is_whole) = first, second
    if is_whole and other_is_whole:
        return seconds == others
    if not is_whole and not other_is_whole and isinstance(gold, Group) == isinstance(answer, Group):
        return None
    bare = others if is_whole else seconds
    if bare >= _HALF_DAY + 3600 or bare < 3600:  # 15:45 and 0:30 say which half they mean
        return seconds == others
    return seconds % _HALF_DAY == others % _HALF_DAY


def _time(node: Node) -> tuple[int, bool] | None:
    """Seconds of the day, and whether the half of the day is said."""
    match node:
        case Text(word) if word in _NAMED:
            return _NAMED[word], True
        case Group("clock" | "time", items):
            *larger, last = items
            unit = last.unit if isinstance(last, Quantity) else ()
            parts = (*larger, last.value if isinstance(last, Quantity) else last)
        case Quantity(value, unit):
            parts = (value,)
        case _:
            return None
    name = unit[0][0] if unit else "o'clock"
    if unit and unit[0][1] != 1:
        return None
    numbers = [part.value for part in parts if isinstance(part, Number)]
    if len(numbers) != len(parts) or any(number.denominator != 1 for number in numbers):
        return None
    hour, *smaller = (int(number) for number in numbers)
    if name == "o'clock":
        return _seconds(hour, smaller), False
    half = _half(hour, smaller, name)
    if half is None or not 1 <= hour <= 12:
        return None
    return _seconds(hour % 12, smaller) + half, True


def _seconds(hour: int, smaller: list[int]) -> int:
    return sum(part * size for part, size in zip((hour, *smaller), (3600, 60, 1), strict=False))


def _half(hour: int, smaller: list[int], name: str) -> int | None:
    """When the half of the day that is said begins: 2 at night is early, noon is 12:00 alone."""
    if name == "night":
        return _HALF_DAY if 6 <= hour < 12 else 0
    if name in _NAMED and (hour, any(smaller)) != (12, False):
        return None
    return {**_HALVES, **_NAMED}.get(name)


def same_ratio(gold: Node, answer: Node, policy: MathPolicy) -> bool | None:
    """Whether two ratios of numbers are proportional; `None` where they are no such.

    Times are compared part for part. An answer that is not in lowest terms is left undone, as a
    fraction is, and so is one that takes gold's 10:20, which may be a time, for 1:2.
    """
    if not (isinstance(gold, Group) and isinstance(answer, Group)):
        return (policy.ratio_as_fraction and _is_its_fraction(gold, answer)) or None
    kinds = (gold.brackets, answer.brackets)
    if not set(kinds) <= {":", *_TIMES}:
        return None
    golds, answers = _terms(gold), _terms(answer)
    if golds is None or answers is None:
        return None
    if "time" in kinds or ":" not in kinds:
        return ":" not in kinds and golds == answers
    if _scaled(golds) != _scaled(answers):
        return False
    if policy.unreduced_fractions or golds == answers:
        return True
    return "clock" not in kinds and (_is_reduced(answers) or not _is_reduced(golds))


def _is_its_fraction(one: Node, other: Node) -> bool:
    ratio, fraction = (one, other) if isinstance(one, Group) else (other, one)
    if not (isinstance(ratio, Group) and ratio.brackets == ":" and len(ratio.items) == 2):
        return False
    terms, values = _terms(ratio), _terms(Group(":", (fraction,)))
    return terms is not None and values is not None and terms[0] == values[0] * terms[1] != 0


def _terms(ratio: Group) -> tuple[Fraction, ...] | None:
    try:
        values = [exact(item) for item in ratio.items]
    except Undefined:
        return None
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else None


def _scaled(terms: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    """One spelling of proportional terms; beside a lone one, 0:75, all are zero and say nothing."""
    others = [term for term in terms if term]
    return tuple(term / others[0] for term in terms) if len(others) > 1 else terms


def _is_reduced(terms: tuple[Fraction, ...]) -> bool:
    whole = all(term.denominator == 1 for term in terms)
    coprime = math.gcd(*(term.numerator for term in terms)) == 1
    return whole and coprime and any(term > 0 for term in terms)
