"""Numbers in digits: exact values, and numerals with their base."""

from __future__ import annotations

from fractions import Fraction

from rewards.math.limits import MAX_EXPONENT, OverLimit, Unreadable
from rewards.math.nodes import Based, Number
from rewards.math.read.cursor import Cursor
from rewards.math.vocabulary.words import leading_number


def literal(text: str) -> Number:
    """The exact value of a number token: "12.50", "0.1(6)", "3.2e5".

    >>> literal("0.1(6)").value
    Fraction(1, 6)
    """
    digits, _, exponent = text.partition("e")
    if exponent and abs(int(exponent)) > MAX_EXPONENT:
        raise OverLimit(f"exponent beyond {MAX_EXPONENT}")
    plain, _, period = digits.partition("(")
    whole, _, decimals = plain.partition(".")
    value = Fraction(int(whole or "0")) + Fraction(int(decimals or "0"), 10 ** len(decimals))
    if period:
        period = period[:-1]
        value += Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(decimals))
    scale = int(exponent or "0")
    value = value * 10**scale if scale >= 0 else value / 10**-scale
    return Number(value, 0 if period or exponent else len(decimals))


def based(cursor: Cursor, digits: str) -> Based:
    """The numeral whose base follows: 204_5, 1011_{two}."""
    cursor.position += 1
    braced = cursor.take("open", "{")
    token = cursor.token
    cursor.position += 1
    if braced:
        cursor.expect("close", "}")
    named = leading_number([token.text.casefold()]) if token.kind == "word" else None
    short = token.kind == "number" and token.text.isdigit() and len(token.text) <= 2
    base = int(token.text) if short else int(named[0]) if named else 0
    if not 2 <= base <= 36:
        raise Unreadable("a base must be a number from 2 to 36")
    return Based(digits.lstrip("0") or "0", base)
