"""A calculator: it answers what a turn asks it, in exact fractions, with a parser of its own.

35 apples for 12 each: <calc>35*12</calc>        the policy
<result>420</result>                             the calculator
They cost 420.                                   the policy, and the end
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from rewards.environments.base import Step
from rewards.errors import RewardError

LONGEST = 200
"""Characters of an expression; its depth is bounded by them."""

LARGEST_POWER = 1000
"""Of an exponent, either way; a power of a power would have no end."""

MOST_BITS = 12_000
"""Of a result, above and below its fraction's bar: Python prints no integer beyond 4300 digits."""

DIGITS = 12
"""Significant ones of a result that no finite decimal is."""

TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d*)?|\.\d+)|(\*\*|[-+*/%^()]))")


class Calculator:
    """Answers the last call of a turn; a turn without one is the policy's last.

    Args:
        open, close: what a call stands between; both empty: a turn is a call if it can be read.
        calculates: what is calculated, with the call's text in the place of `{}`.
        reply: what the policy is told, with the result in the place of `{}`.
    """

    def __init__(
        self,
        open: str = "<calc>",
        close: str = "</calc>",
        calculates: str = "{}",
        reply: str = "<result>{}</result>",
    ) -> None:
        for name, text in {"calculates": calculates, "reply": reply}.items():
            if "{}" not in text:
                raise RewardError(f"{name} of a calculator must hold {{}}, got {text!r}.")
        if bool(open) != bool(close):
            raise RewardError("open and close of a calculator must both be given, or none.")
        self.open, self.close, self.calculates, self.reply = open, close, calculates, reply

    def reset(self, row: Mapping[str, Any], seed: int) -> None:
        """Nothing to say."""

    def step(self, text: str) -> Step:
        """The result of the call, or why there is none."""
        call = asked(text, self.open, self.close) if self.open else text
        if call is None:
            return Step(done=True)
        try:
            found = decimal(calculate(self.calculates.replace("{}", call.strip())))
        except ValueError as error:
            if not self.open:
                return Step(done=True)
            found = f"error: {error}"
        return Step(self.reply.replace("{}", found))


def asked(text: str, opening: str, closing: str) -> str | None:
    """What stands in the last call of a text; `None` if there is none."""
    start = text.rfind(opening)
    if start < 0:
        return None
    # One that is not closed counts: the closing mark may be the stop string that ended the turn.
    return text[start + len(opening) :].partition(closing)[0]


def calculate(text: str) -> Fraction:
    """The value of `+ - * / % ^` and brackets over decimals.

    >>> calculate("2*(3+4)^2 / 4")
    Fraction(49, 2)

    Raises:
        ValueError: it cannot be read, or calculated; says why in a few words.
    """
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST} characters")
    return _Reader(_tokens(text)).whole()


def decimal(value: Fraction) -> str:
    """A value as it is written: whole, as a finite decimal, or to `DIGITS` digits."""
    if value.denominator == 1:
        return str(value.numerator)
    try:
        rounded = f"{float(value):.{DIGITS}g}"
    except OverflowError:
        raise ValueError("too large") from None
    return rounded


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"cannot read {text[at:].strip()[:20]!r}")
        found.append(match[1] or match[2].replace("**", "^"))
        at = match.end()
    return found


class _Reader:
    """Reads by precedence: sums of products of signed powers."""

    def __init__(self, tokens: list[str]) -> None:
        self.left = tokens[::-1]

    def whole(self) -> Fraction:
        value = self._sum()
        if self.left:
            raise ValueError(f"cannot read {self.left[-1]!r} there")
        return value

    def _sum(self) -> Fraction:
        return self._chain(self._product, {"+": Fraction.__add__, "-": Fraction.__sub__})

    def _product(self) -> Fraction:
        return self._chain(self._signed, {"*": Fraction.__mul__, "/": _over, "%": _rest})

    def _chain(
        self,
        part: Callable[[], Fraction],
        signs: Mapping[str, Callable[[Fraction, Fraction], Fraction]],
    ) -> Fraction:
        value = part()
        while self.left and self.left[-1] in signs:
            value = _bounded(signs[self.left.pop()](value, part()))
        return value

    def _signed(self) -> Fraction:
        if self.left and self.left[-1] in ("+", "-"):
            sign = -1 if self.left.pop() == "-" else 1
            return sign * self._signed()
        base = self._atom()
        if self.left and self.left[-1] == "^":
            self.left.pop()
            return _power(base, self._signed())
        return base

    def _atom(self) -> Fraction:
        if not self.left:
            raise ValueError("it ends too early")
        token = self.left.pop()
        if token == "(":
            value = self._sum()
            if not self.left or self.left.pop() != ")":
                raise ValueError("a bracket is not closed")
            return value
        if token in "+-*/%^)":
            raise ValueError(f"cannot read {token!r} there")
        return Fraction(token)


def _over(one: Fraction, other: Fraction) -> Fraction:
    if not other:
        raise ValueError("division by zero")
    return one / other


def _rest(one: Fraction, other: Fraction) -> Fraction:
    if not other:
        raise ValueError("division by zero")
    return one % other


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1 or abs(exponent) > LARGEST_POWER:
        raise ValueError(f"an exponent must be whole and at most {LARGEST_POWER}")
    if not base and exponent < 0:
        raise ValueError("division by zero")
    # Before it is carried out: 9^1000 has a thousand digits, and its own thousandth power no end.
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if size * abs(exponent.numerator) > MOST_BITS:
        raise ValueError("too large")
    return Fraction(base**exponent.numerator)


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        raise ValueError("too large")
    return value
