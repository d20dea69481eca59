"""Whether two scalar expressions are equal, and the switches that bear on single values."""

from __future__ import annotations

import math
from fractions import Fraction

from rewards.math.compare.domains import keeps_domain
from rewards.math.compare.exact import exact
from rewards.math.compare.numeric import real_value, same_function
from rewards.math.compare.regions import infinite_sign
from rewards.math.compare.residues import is_residue, same_residue
from rewards.math.limits import Undefined
from rewards.math.nodes import Apply, Constant, Node, Number, variables, walk
from rewards.math.policy import MathPolicy

_ARITHMETIC = frozenset(("add", "mul", "div", "neg", "gcd", "lcm", "max", "min"))
_DEGREE = Apply("div", (Constant("pi"), Number(Fraction(180))))


def plain_same(left: Node, right: Node) -> bool:
    """Equality of two expressions without any policy.

    Raises:
        OverLimit: a value is larger than the limits.
    """
    if left == right:
        return True
    if is_residue(left) and is_residue(right):
        return same_residue(left, right)
    if _is_letters(left) and _is_letters(right):
        return False  # HHT is no HTH: as written, they were compared above
    if infinite_sign(left) or infinite_sign(right):
        return infinite_sign(left) == infinite_sign(right)
    if variables(left) != variables(right):
        return False
    try:
        exact_left, exact_right = exact(left), exact(right)
        if exact_left is not None and exact_right is not None:
            return exact_left == exact_right
        return same_function(left, right) is True
    except Undefined:
        return False


def _is_letters(node: Node) -> bool:
    return isinstance(node, Apply) and node.name == "letters"


def same_scalar(gold: Node, answer: Node, policy: MathPolicy) -> bool:
    """Equality of two expressions under `policy`."""
    if not _is_written_out(gold, answer, policy):
        return False
    if plain_same(gold, answer):
        return keeps_domain(gold, answer)
    if is_residue(gold) != is_residue(answer):
        return _same_remainder(gold, answer, policy)
    if policy.percent_as_number and _is_percent(gold) != _is_percent(answer):
        hundredfold = Apply("mul", (Number(Fraction(100)), gold if _is_percent(gold) else answer))
        if plain_same(hundredfold, answer if _is_percent(gold) else gold):
            return True
    if policy.degrees_as_radians and _has_degrees(gold) != _has_degrees(answer):
        in_radians = Apply("mul", (_DEGREE, gold if _has_degrees(gold) else answer))
        if plain_same(in_radians, answer if _has_degrees(gold) else gold):
            return True
    return _close(gold, answer, policy)


def _same_remainder(gold: Node, answer: Node, policy: MathPolicy) -> bool:
    """3 against "3 mod 7": the answer may add the modulus, and leniently leave it out."""
    match gold, answer:
        case Apply("residue", (value, _)), _ if policy.base_optional:
            return plain_same(value, answer)
        case _, Apply("residue", (value, modulus)):
            same_class = Apply("residue", (gold, modulus))
            reduced = plain_same(value, gold) and _is_below(value, modulus)
            unevaluated = policy.unevaluated_arithmetic and _is_below(gold, modulus)
            return reduced or (unevaluated and same_residue(same_class, answer))
    return False


def lone_remainder(node: Node) -> Node:
    """The 3 of "3 mod 5", where the modulus only says how it was found; any other node itself."""
    match node:
        case Apply("residue", (value, modulus)) if _is_below(value, modulus):
            return value
    return node


def _is_below(value: Node, modulus: Node) -> bool:
    """Whether a remainder is written out: 2 mod 5, but not 7 mod 5."""
    try:
        remainder, size = exact(value), exact(modulus)
    except Undefined:
        return False
    return remainder is None or size is None or 0 <= remainder < size


def _close(gold: Node, answer: Node, policy: MathPolicy) -> bool:
    """Within the stated tolerance, or a correctly rounded decimal, where the policy allows."""
    rounded = policy.rounded_decimals and not isinstance(gold, Number)
    if not (policy.tolerance or rounded) or variables(gold) or variables(answer):
        return False
    try:
        expected, found = real_value(gold), real_value(answer)
    except Undefined:
        return False
    distance = abs(expected - found)
    if policy.tolerance and distance <= policy.tolerance * abs(expected):
        return True
    digits = answer.args[0] if isinstance(answer, Apply) and answer.name == "neg" else answer
    if not (rounded and isinstance(digits, Number) and digits.places >= 2):
        return False
    if math.floor(abs(digits.value) * 10**digits.places) < 100:  # three significant digits
        return False
    return bool(distance * 2 * 10**digits.places <= 1)


def _is_written_out(gold: Node, answer: Node, policy: MathPolicy) -> bool:
    """Where gold is a numeral, arithmetic left undone is no answer: 17*23, 2/4."""
    if not is_numeral(gold):
        return True
    if not policy.unreduced_fractions and not _is_reduced(answer) and _is_reduced(gold):
        return False
    if policy.unevaluated_arithmetic or is_numeral(answer):
        return True
    parts = list(walk(answer))
    applied = [part for part in parts if isinstance(part, Apply)]
    return (
        not all(
            isinstance(part, Number) or (isinstance(part, Apply) and part.name in _ARITHMETIC)
            for part in parts
        )
        or not applied
    )


def is_numeral(node: Node) -> bool:
    """A number as one writes it: 7, -3/4, 1 1/2, 50%, 45 degrees, 3.2*10^5."""
    match node:
        case Number():
            return True
        case Apply("neg" | "percent" | "degree", (inner,)):
            return is_numeral(inner)
        case Apply("mixed", _):
            return True
        case Apply("div", (above, below)):
            return _is_integer(above) and _is_integer(below)
        case Apply("mul", (Number(), Apply("pow", (Number(Fraction(numerator=10)), power)))):
            return _is_integer(power)
    return False


def _is_integer(node: Node) -> bool:
    match node:
        case Number(value):
            return value.denominator == 1
        case Apply("neg", (inner,)):
            return _is_integer(inner)
    return False


def _is_reduced(node: Node) -> bool:
    match node:
        case Apply("neg" | "percent" | "degree", (inner,)):
            return _is_reduced(inner)
        case Apply("div", (above, below)) if _is_integer(above) and _is_integer(below):
            numbers = [abs(part.value.numerator) for part in walk(node) if isinstance(part, Number)]
            return math.gcd(*numbers) == 1 and numbers[1] != 1
    return True


def _is_percent(node: Node) -> bool:
    return isinstance(node, Apply) and node.name == "percent"


def is_degrees(node: Node) -> bool:
    """Whether the value carries a degree sign."""
    return isinstance(node, Apply) and node.name == "degree"


def _has_degrees(node: Node) -> bool:
    return any(isinstance(part, Apply) and part.name == "degree" for part in walk(node))
