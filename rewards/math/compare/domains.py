"""Where an answer must have a value: wherever gold was written so as to have one.

ln(x^2) and ln|x| are written as they are because x may be negative. 2 ln x and ln x agree with them
for positive x alone, and are other functions; sqrt(x^2) and x differ for the same reason. That x
and y may both be negative in ln(xy) is nothing gold was written for: ln x + ln y is its answer. k,
m and n are numbers of things, and never negative.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from rewards.math.compare.exact import exact
from rewards.math.compare.numeric import points, real_value_at
from rewards.math.limits import Undefined
from rewards.math.nodes import Apply, Node, variables, walk

_LOGARITHMS = frozenset(("ln", "log", "lg"))
_COUNTS = frozenset("kmnN")
_TRIED = tuple(sign * Fraction(size, 7) for size in (3, 23, 89) for sign in (-1, 1))
"""Values in the place of one variable: of both signs, about 0.4, 3 and 13."""


def keeps_domain(gold: Node, answer: Node) -> bool:
    """Whether an answer that agrees with gold has a value, too, where a part of gold is negative.

    Raises:
        OverLimit: a value is larger than the limits.
    """
    names = variables(gold)
    for part in _that_may_be_negative(gold):
        for point in points(names):
            here = real_value_at(part, point)
            if here and None not in (real_value_at(gold, point), real_value_at(answer, point)):
                break
        else:
            continue
        for name in sorted(variables(part) - _COUNTS):
            for value in _TRIED:
                there = {**point, name: value}
                turned = real_value_at(part, there)
                if turned is None or turned * here >= 0 or real_value_at(answer, there) is not None:
                    continue
                if real_value_at(gold, there) is not None:
                    return False
    return True


def _that_may_be_negative(gold: Node) -> Iterator[Node]:
    """u, where |u| or an even power of u stands in a logarithm."""
    for part in walk(gold):
        if not (isinstance(part, Apply) and part.name in _LOGARITHMS):
            continue
        for inner in walk(part.args[0]):
            match inner:
                case Apply("abs", (negative,)):
                    yield negative
                case Apply("pow", (negative, power)) if _is_even(power):
                    yield negative


def _is_even(power: Node) -> bool:
    try:
        value = exact(power)
    except Undefined:
        return False
    return value is not None and value.denominator == 1 and value.numerator % 2 == 0
