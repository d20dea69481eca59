"""The numeric tier: two expressions are the same function if they agree at seeded points.

Values are computed with mpmath to 50 digits and an agreement is confirmed once to 200. The test is
relative, so 1/2004! and 1/2006! differ. Unless an expression holds the imaginary unit the
points where a part of it is not real are left out: sqrt(1/n) equals 1/sqrt(n), and sqrt(x^2)
differs from x at negative x. Odd roots of negative numbers are real.
"""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from mpmath import MPContext

from rewards.math.compare.exact import exact
from rewards.math.limits import MAX_MAGNITUDE, OverLimit, Undefined, spend
from rewards.math.nodes import Apply, Constant, Node, Number, Symbol, variables, walk
from rewards.math.vocabulary.commands import FUNCTIONS

_DIGITS = 50
_CONFIRMING_DIGITS = 200
_GUARD_DIGITS = 15
_RATIO_DIGITS = 25
_MIN_POINTS = 2
_MIN_INTEGER_POINTS = 3
_NUM_REAL_POINTS = 8
_NUM_POINTS = 12
_MAX_GAMMA_ARGUMENT = 10_000
_MAX_BINOMIAL_TERMS = 64
_TRIGONOMETRIC = frozenset(("sin", "cos", "tan", "cot", "sec", "csc"))
_MPMATH_NAMES = {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}

Point = Mapping[str, Fraction]
_local = threading.local()


def _context() -> Any:
    """One mpmath context per thread: a context's precision is mutable state."""
    if not hasattr(_local, "context"):
        _local.context = MPContext()
    return _local.context


def same_function(left: Node, right: Node) -> bool | None:
    """Whether two expressions in the same variables are equal; `None` where no point tells.

    Raises:
        OverLimit: a value is larger than the limits.
    """
    with_i = _holds_i(left) or _holds_i(right)
    verdict = _same_at_points(left, right, complex_values=with_i)
    return _same_at_points(left, right, complex_values=True) if verdict is None else verdict


def _same_at_points(left: Node, right: Node, *, complex_values: bool) -> bool | None:
    names = variables(left) | variables(right)
    agreed = 0
    for index, point in enumerate(points(names)):
        if index == _NUM_REAL_POINTS and agreed >= _MIN_POINTS:
            return True
        try:
            if not _agree(left, right, point, complex_values, confirm=not agreed):
                return False
        except Undefined:
            continue
        agreed += 1
        if not names:
            return True
    return True if agreed >= _MIN_INTEGER_POINTS else None


def _agree(left: Node, right: Node, point: Point, complex_values: bool, *, confirm: bool) -> bool:
    """Equal to the working precision, or, after cancellation, nearer the more digits are used.

    A difference that is real stays where it is when digits are added, however small it is; one
    that is rounding shrinks with them.
    """
    first, is_close = _difference(left, right, point, complex_values, _DIGITS)
    if is_close and not confirm:
        return True
    second, is_closer = _difference(left, right, point, complex_values, _CONFIRMING_DIGITS)
    tiny = _context().mpf(10) ** -(_CONFIRMING_DIGITS - 2 * _DIGITS)
    return is_closer or (second <= first * tiny and second <= tiny)


def _difference(
    left: Node, right: Node, point: Point, complex_values: bool, digits: int
) -> tuple[Any, bool]:
    first = _value(left, point, complex_values, digits)
    second = _value(right, point, complex_values, digits)
    allowed = _context().mpf(10) ** -(digits - _GUARD_DIGITS) * max(abs(first), abs(second))
    return abs(first - second), abs(first - second) <= allowed


def same_zeros(left: Node, right: Node) -> int | None:
    """The sign of the constant c with `left` = c * `right` everywhere, if there is one."""
    names = variables(left)
    if names != variables(right) or not names:
        return None
    complex_values = _holds_i(left) or _holds_i(right)
    ratios: list[Any] = []
    for point in points(names):
        try:
            above = _value(left, point, complex_values, _DIGITS)
            below = _value(right, point, complex_values, _DIGITS)
        except Undefined:
            continue
        if below:
            ratios.append(above / below)
            if abs(ratios[-1] - ratios[0]) > abs(ratios[0]) * _context().mpf(10) ** -_RATIO_DIGITS:
                return None
    if len(ratios) < _MIN_INTEGER_POINTS or not ratios[0] or ratios[0].imag:
        return None
    return 1 if ratios[0].real > 0 else -1


def real_value(node: Node, digits: int = _DIGITS) -> Any:
    """A constant as an `mpf`.

    Raises:
        Undefined: it has variables, is not real or has no value.
    """
    if variables(node):
        raise Undefined("not a constant")
    return _value(node, {}, False, digits)


def real_value_at(node: Node, point: Point) -> Any | None:
    """The value at one point; `None` where it, or a part of it, is not real."""
    try:
        return _value(node, point, False, _DIGITS)
    except Undefined:
        return None


def _value(node: Node, point: Point, complex_values: bool, digits: int) -> Any:
    try:
        return _Evaluator(point, complex_values, digits).value(node)
    except (ZeroDivisionError, ValueError, OverflowError, ArithmeticError) as error:
        raise Undefined(str(error) or type(error).__name__) from None


def _holds_i(node: Node) -> bool:
    return any(part == Constant("i") for part in walk(node))


def points(names: frozenset[str]) -> Iterator[Point]:
    """Eight real points of all sign patterns and sizes, then four of small integers."""
    ordered = sorted(names)
    for index in range(_NUM_POINTS if names else 1):
        yield {name: _coordinate(name, rank, index) for rank, name in enumerate(ordered)}


def _coordinate(name: str, rank: int, index: int) -> Fraction:
    draw = random.Random(f"{name}/{index}")
    if index >= _NUM_REAL_POINTS:
        return Fraction(draw.randint(2, 12))
    low, high = ((20, 300), (300, 1200), (10, 99))[(0, 0, 0, 2, 1, 0, 2, 1)[index]]
    size = Fraction(draw.randint(low * 1000, high * 1000), 100_003)
    negative = index in (1, 6) or (index in (2, 5) and (rank + index) % 2 == 0)
    return -size if negative else size


class _Evaluator:
    """Evaluates one tree at one point, to so many digits."""

    def __init__(self, point: Point, complex_values: bool, digits: int) -> None:
        self.context = _context()
        self.context.dps = digits
        self.point = point
        self.complex_values = complex_values
        self.cost = digits // 5  # of one operation, in the budget's units

    def value(self, node: Node) -> Any:
        spend(self.cost)
        match node:
            case Number(value):
                result = self._fraction(value)
            case Symbol(name):
                result = self._fraction(self.point[name])
            case Constant("pi"):
                result = +self.context.pi
            case Constant("e"):
                result = +self.context.e
            case Constant("i"):
                return self.context.mpc(0, 1)
            case Apply(name, args):
                result = self._apply(name, args)
            case _:
                raise Undefined(f"{type(node).__name__} has no numeric value")
        return self._checked(result)

    def _fraction(self, value: Fraction) -> Any:
        return self.context.mpf(value.numerator) / value.denominator

    def _checked(self, value: Any) -> Any:
        context = self.context
        if isinstance(value, context.mpc):
            if not self.complex_values and abs(value.imag) > abs(value.real) * context.eps * 1024:
                raise Undefined("not real here")
            value = value if self.complex_values else value.real
        if not context.isfinite(value):
            raise Undefined("infinite")
        if value and abs(context.mag(value)) > MAX_MAGNITUDE:
            raise OverLimit(f"a value of more than {MAX_MAGNITUDE} bits")
        return value

    def _apply(self, name: str, args: tuple[Node, ...]) -> Any:
        context = self.context
        values = [self.value(argument) for argument in args]
        first = values[0]
        match name:
            case "add" | "mixed":
                return context.fsum(values)
            case "mul" | "letters":
                return context.fprod(values)
            case "div":
                return first / values[1]
            case "neg":
                return -first
            case "percent":
                return first / 100
            case "degree":
                return first
            case "abs":
                return abs(first)
            case "floor":
                return context.floor(self._real(first))
            case "ceil":
                return context.ceil(self._real(first))
            case "pow":
                return self._power(first, values[1], exact(args[1]))
            case "root":
                index = exact(args[0])
                if not index:
                    raise Undefined("the zeroth root")
                return self._power(values[1], 1 / values[0], 1 / index)
            case "factorial":
                return self._gamma(first + 1)
            case "double factorial":
                return self._gamma(first + 1, double=True)
            case "binom":
                return self._binomial(first, values[1], exact(args[1]))
            case "max" | "min":
                return (max if name == "max" else min)(map(self._real, values))
            case "gcd" | "lcm":
                value = exact(Apply(name, args))
                if value is None:
                    raise Undefined(f"the {name} of what is no integer here")
                return self._fraction(value)
            case "log":
                return context.ln(first) / self._checked(context.ln(values[1]))
            case _ if name.startswith("call:"):
                return self._unknown(name, values)
        return self._function(name, first, in_degrees=_in_degrees(args[0]))

    def _real(self, value: Any) -> Any:
        if isinstance(value, self.context.mpc):
            raise Undefined("rounding a complex number")
        return value

    def _power(self, base: Any, exponent: Any, rational: Fraction | None) -> Any:
        context = self.context
        if base == 0:
            if exponent == 0 or self._real(exponent) < 0:
                raise Undefined("zero to a power that is not positive")
            return context.mpf(0)
        bits = abs(exponent) * max(1, abs(context.mag(base)))
        if bits > MAX_MAGNITUDE:
            raise OverLimit(f"a power of more than {MAX_MAGNITUDE} bits")
        real_base = not isinstance(base, context.mpc)
        if rational is not None and real_base and base < 0 and rational.denominator % 2:
            size = context.power(-base, exponent)
            return -size if rational.numerator % 2 else size
        return context.power(base, exponent)

    def _gamma(self, value: Any, *, double: bool = False) -> Any:
        spend(5 * self.cost)
        if abs(value) > _MAX_GAMMA_ARGUMENT:
            raise OverLimit(f"the factorial of a number beyond {_MAX_GAMMA_ARGUMENT}")
        return self.context.fac2(value - 1) if double else self.context.gamma(value)

    def _binomial(self, above: Any, below: Any, chosen: Fraction | None) -> Any:
        """n(n-1)...(n-k+1)/k! for a small integer k, gamma functions otherwise."""
        if chosen is not None and chosen.denominator == 1 and 0 <= chosen <= _MAX_BINOMIAL_TERMS:
            count = chosen.numerator
            terms = [(above - place) / (place + 1) for place in range(count)]
            return self.context.fprod(terms)
        return self._gamma(above + 1) / (self._gamma(below + 1) * self._gamma(above - below + 1))

    def _unknown(self, name: str, values: list[Any]) -> Any:
        """An unknown function becomes one fixed smooth function without symmetries."""
        seed = zlib.crc32(name.encode()) % 997 + 3
        total = self.context.mpf(seed) / 7
        for place, value in enumerate(values, 1):
            total += value * (self.context.mpf(seed) / 991 + place)
        return self._function("sin", total) + self.context.mpf(seed) / 5

    def _function(self, name: str, value: Any, *, in_degrees: bool = False) -> Any:
        context = self.context
        if abs(value) > 2 ** min(MAX_MAGNITUDE, 1024):
            raise OverLimit("an argument too large for a function")
        if name in ("exp", "sinh", "cosh", "tanh") and abs(value) > MAX_MAGNITUDE // 2:
            raise OverLimit("an exponential too large")
        if in_degrees and name in _TRIGONOMETRIC:
            value = value * context.pi / 180
        if name not in FUNCTIONS:
            raise Undefined(f"{name} has no numeric value")
        return getattr(context, _MPMATH_NAMES.get(name, name))(value)


def _in_degrees(node: Node) -> bool:
    return any(isinstance(part, Apply) and part.name == "degree" for part in walk(node))
