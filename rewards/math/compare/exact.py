"""The exact tier: rational numbers as `Fraction`, within a budget of bits.

No size is trusted: an integer is built only after its length was estimated from the logarithm
of what it is made of, so `9**9**9` costs as much as `1+1`.
"""

from __future__ import annotations

import math
from fractions import Fraction

from rewards.math.limits import MAX_BITS, OverLimit, Undefined, spend
from rewards.math.nodes import Apply, Node, Number

_MAX_ROOT_INDEX = 64


def exact(node: Node) -> Fraction | None:
    """The rational value of `node`, or `None` where it has none or the rules here see none.

    Raises:
        OverLimit: it is rational, but larger than the limits.
        Undefined: 0/0, 0**0, (-1)! and the like.
    """
    if isinstance(node, Number):
        return _charged(node.value)
    if not isinstance(node, Apply):
        return None
    arguments = []
    for argument in node.args:
        value = exact(argument)
        if value is None:
            return None
        arguments.append(value)
    result = _applied(node.name, arguments)
    return None if result is None else _charged(result)


def _charged(value: Fraction) -> Fraction:
    """A greatest common divisor takes quadratic time: 8 ms at 40 000 bits."""
    bits = value.numerator.bit_length() + value.denominator.bit_length()
    spend(5 + (bits // 450) ** 2)
    if bits > MAX_BITS:
        raise OverLimit(f"a number of more than {MAX_BITS} bits")
    return value


def _applied(name: str, arguments: list[Fraction]) -> Fraction | None:
    first = arguments[0]
    match name, arguments:
        case "add" | "mixed", _:
            return _folded(arguments, product=False)
        case "mul", _:
            return _folded(arguments, product=True)
        case "div", [_, Fraction(numerator=0)]:
            raise Undefined("division by zero")
        case "div", [_, divisor]:
            return first / divisor
        case "neg", _:
            return -first
        case "percent", _:
            return first / 100
        case "degree", _:
            return first
        case "abs", _:
            return abs(first)
        case "floor", _:
            return Fraction(math.floor(first))
        case "ceil", _:
            return Fraction(math.ceil(first))
        case "pow", [_, exponent]:
            return _power(first, exponent)
        case "root", [_, radicand]:
            if first == 0:
                raise Undefined("the zeroth root")
            return _power(radicand, 1 / first)
        case "factorial", _:
            return _factorial(first)
        case "double factorial", _:
            return _double_factorial(first)
        case "binom", [_, below]:
            return _binomial(first, below)
        case "gcd" | "lcm", _:
            return _of_integers(name, arguments)
        case "max" | "min", _:
            return max(arguments) if name == "max" else min(arguments)
    return None


def _folded(values: list[Fraction], *, product: bool) -> Fraction:
    total = values[0]
    for value in values[1:]:
        total = _charged(total * value if product else total + value)
    return total


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if base == 0 and exponent <= 0:
        raise Undefined("zero to a power that is not positive")
    if exponent.denominator != 1:
        root = _root(base, exponent.denominator)
        if root is None:
            return None
        base, exponent = root, Fraction(exponent.numerator)
    power = exponent.numerator
    if abs(base) in (0, 1):
        return base if power % 2 else abs(base)
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(power) * max(size - 1, 1) > MAX_BITS:
        raise OverLimit(f"a power of more than {MAX_BITS} bits")
    return base**power


def _root(value: Fraction, index: int) -> Fraction | None:
    """The rational root of that index, for perfect powers; negative values have odd roots."""
    if index > _MAX_ROOT_INDEX or (value < 0 and index % 2 == 0):
        return None
    numerator = _integer_root(abs(value.numerator), index)
    denominator = _integer_root(value.denominator, index)
    if numerator is None or denominator is None:
        return None
    return Fraction(numerator if value > 0 else -numerator, denominator)


def _integer_root(value: int, index: int) -> int | None:
    """Newton's iteration from above, on integers."""
    if value < 2:
        return value
    if index == 2:
        root = math.isqrt(value)
    else:
        root = 1 << -(-value.bit_length() // index)
        while True:
            step = ((index - 1) * root + value // root ** (index - 1)) // index
            if step >= root:
                break
            root = step
    return root if root**index == value else None


def _factorial(value: Fraction) -> Fraction | None:
    if value.denominator != 1:
        return None
    if value < 0:
        raise Undefined("the factorial of a negative integer")
    if value > MAX_BITS or math.lgamma(float(value) + 1) / math.log(2) > MAX_BITS:
        raise OverLimit(f"a factorial of more than {MAX_BITS} bits")
    return Fraction(math.factorial(value.numerator))


def _double_factorial(value: Fraction) -> Fraction | None:
    """5!! = 5 * 3 * 1."""
    if value.denominator != 1:
        return None
    if value < -1:
        raise Undefined("the double factorial of a negative integer")
    if value > MAX_BITS or math.lgamma(float(value) + 2) / math.log(4) > MAX_BITS:
        raise OverLimit(f"a double factorial of more than {MAX_BITS} bits")
    return Fraction(math.prod(range(value.numerator, 0, -2)))


def _of_integers(name: str, values: list[Fraction]) -> Fraction | None:
    if any(value.denominator != 1 for value in values):
        return None
    if sum(value.numerator.bit_length() for value in values) > MAX_BITS:
        raise OverLimit(f"the {name} of numbers of more than {MAX_BITS} bits")
    return Fraction((math.gcd if name == "gcd" else math.lcm)(*(v.numerator for v in values)))


def _binomial(above: Fraction, below: Fraction) -> Fraction | None:
    if above.denominator != 1 or below.denominator != 1 or above < 0:
        return None
    if not 0 <= below <= above:
        return Fraction(0)
    factors = min(below.numerator, (above - below).numerator)
    if factors * above.numerator.bit_length() > MAX_BITS:
        raise OverLimit(f"a binomial coefficient of more than {MAX_BITS} bits")
    return Fraction(math.comb(above.numerator, below.numerator))
