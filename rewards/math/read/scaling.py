"""Multipliers behind a value: thousands, 万, percent, factorial, "out of 4", "and a half"."""

from __future__ import annotations

from fractions import Fraction

from rewards.math.limits import Unreadable
from rewards.math.nodes import Apply, Node, Number, negated
from rewards.math.read.cursor import Cursor
from rewards.math.read.tokens import Token
from rewards.math.vocabulary.languages import is_run, run_unit
from rewards.math.vocabulary.multipliers import leading_multiplier, multiplier, percent_words
from rewards.math.vocabulary.words import leading_number

MAX_WORDS = 12
_MAX_MULTIPLIERS = 4
_PART_WORDS = 4
_DOZEN = 12
_POWERS = {"squared": 2, "cubed": 3}
_APPLIED = {"factorial": "factorial", "squared": "pow", "cubed": "pow"}


def multiplied(cursor: Cursor, value: Node, is_money: bool) -> Node:
    for _ in range(_MAX_MULTIPLIERS):
        read = _times(cursor, value, is_money)
        if read is None:
            return value
        value = read
    raise Unreadable("too many multipliers in a row")


def _times(cursor: Cursor, value: Node, is_money: bool) -> Node | None:
    token = cursor.token
    if is_money and token.kind == "symbol" and not token.gap:  # "$5k"
        factor = multiplier(token.text, tight=True)
        return _scaled(cursor, value, factor) if factor else None
    if cursor.at("join", "and"):
        return _and_part(cursor, value)
    if token.kind != "word":
        return None
    words = cursor.words(3)
    is_part = isinstance(value, Number) and value.value < 1 and not is_money
    if is_part and words[0] == "a" and len(words) > 1 and multiplier(words[1], tight=False):
        cursor.position += 1  # half a dozen
        return _times(cursor, value, is_money)
    if used := percent_words(words):
        cursor.position += used
        return Apply("percent", (value,))
    run = leading_multiplier(token.text) if not _names_unit(token.text) else None
    if run:
        return _run_scaled(cursor, value, *run)
    if factor := multiplier(token.text, tight=not token.gap):
        return _and_a_part_of_it(cursor, _scaled(cursor, value, factor), factor)
    if words[0] in _APPLIED:
        cursor.position += 1
        exponent = (Number(Fraction(_POWERS[words[0]])),) if words[0] in _POWERS else ()
        return Apply(_APPLIED[words[0]], (value, *exponent))
    return _share(cursor, value, words)


def _names_unit(word: str) -> bool:
    """Whether an unspaced word begins with a unit: 千克 is a kilogram, and no thousand."""
    found = run_unit(word) if is_run(word) else None
    return found is not None and found[0] != ()


def _scaled(cursor: Cursor, value: Node, factor: Fraction) -> Node:
    cursor.position += 1
    if isinstance(value, Number):
        return Number(value.value * factor)
    return Apply("mul", (value, Number(factor)))


def _and_a_part_of_it(cursor: Cursor, value: Node, factor: Fraction) -> Node:
    """The 18 of "a dozen and a half"; what else has a half behind it leaves open of what."""
    found = leading_number(_behind_and(cursor))
    if not found or found[0].denominator == 1 or not isinstance(value, Number):
        return value
    if factor != _DOZEN:
        raise Unreadable("a part of one, or of what stands before it")
    cursor.position += 1 + found[1]
    return Number(value.value + found[0] * factor)


def _behind_and(cursor: Cursor) -> list[str]:
    return cursor.words(_PART_WORDS, start=1) if cursor.at("join", "and") else []


def _run_scaled(cursor: Cursor, value: Node, factor: Fraction, rest: str) -> Node:
    """The 万 of "5万人", of "3万5千" and of "100万"."""
    scaled = _scaled(cursor, value, factor)
    if rest:
        cursor.position -= 1
        cursor.replace(Token("word", rest))
    elif cursor.at("number") and cursor.token.text.isdigit() and cursor.ahead().kind == "word":
        low = multiplied(cursor, Number(Fraction(int(cursor.next().text))), False)
        if isinstance(scaled, Number) and isinstance(low, Number):
            return Number(scaled.value + low.value)
    return scaled


def _share(cursor: Cursor, value: Node, words: list[str]) -> Node | None:
    """The "out of 4" of "1 out of 4"."""
    if words[:2] == ["out", "of"]:
        length = 2
    elif words[0] == "in" and cursor.ahead().kind == "number" and not cursor.ahead(2).text:
        length = 1
    else:
        return None
    cursor.position += length
    whole = plain_number(cursor)
    if whole is None:
        raise Unreadable("'out of' without a number")
    return Apply("div", (value, whole))


def _and_part(cursor: Cursor, value: Node) -> Node | None:
    """The fraction of "5 and a half"."""
    found = leading_number(_behind_and(cursor))
    if found and found[0].denominator > 1 and isinstance(value, Number):
        cursor.position += 1 + found[1]
        mixed = Apply("mixed", (Number(abs(value.value)), Number(found[0])))
        return negated(mixed) if value.value < 0 else mixed  # minus two and a half
    return None


def plain_number(cursor: Cursor) -> Node | None:
    if cursor.at("number") and cursor.token.text.isdigit():
        return Number(Fraction(int(cursor.next().text)))
    if found := leading_number(cursor.words(MAX_WORDS)):
        cursor.position += found[1]
        return Number(found[0])
    return None
