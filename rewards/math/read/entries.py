"""One item of an answer: relations, ratios, unions, quantities and words, of expressions.

    entry  := [name "="] ratio (relation-sign ratio)* ["mod" power]
    ratio  := union (":" union)*
    union  := side (("∪"|"∩"|"\\") side)*
    side   := total quantity | point | rows | money | words | "..."

`quantities` reads what stands behind a value, `names` what stands before "=", `systems` rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from rewards.math.limits import MAX_DEPTH, OverLimit, UnknownNotation, Unreadable
from rewards.math.nodes import (
    INFINITY,
    Apply,
    Constant,
    Group,
    Node,
    Number,
    Quantity,
    Relation,
    Symbol,
    Text,
    negated,
)
from rewards.math.read.arithmetic import scalar
from rewards.math.read.brackets import bracketed
from rewards.math.read.congruences import in_residues, shared_modulus
from rewards.math.read.cursor import Cursor
from rewards.math.read.denials import passed_over
from rewards.math.read.expressions import power, total
from rewards.math.read.lookahead import article, letters, named_point, union_letter
from rewards.math.read.names import name_before_equals
from rewards.math.read.normalise import DECIMAL_COMMA
from rewards.math.read.quantities import quantity
from rewards.math.read.scaling import MAX_WORDS
from rewards.math.read.systems import system
from rewards.math.read.tokens import Token
from rewards.math.read.written import date, numeral, time
from rewards.math.vocabulary.commands import OF_SEVERAL
from rewards.math.vocabulary.han import han_number
from rewards.math.vocabulary.languages import can_follow_number
from rewards.math.vocabulary.multipliers import multiplier
from rewards.math.vocabulary.times import time_in_words
from rewards.math.vocabulary.units import ORDINAL, canonical_unit, is_currency
from rewards.math.vocabulary.words import leading_number, ordinal, word_set

_MAX_UNIONS = 32
_CLOCK = re.compile(r"(?:[01]?[0-9]|2[0-4])(?: : [0-5][0-9]){1,2}(?: [^\W\d][^:]*)?")
_TIME = re.compile(r"[0-9]+(?: : [0-9]{2})?? : 0[0-9](?: : [0-9]{2})?(?: [^\W\d][^:]*)?")  # 3:04
_SIGNED = word_set("number frac sqrt currency")
_ABOUT = word_set("about approximately approx roughly around nearly exactly")
_PHRASES: dict[str, Node] = {
    "all real numbers": Constant("R"),
    "all reals": Constant("R"),
    "real numbers": Constant("R"),
    "no solution": Constant("empty"),
    "no solutions": Constant("empty"),
    "no real solutions": Constant("empty"),
    "empty set": Constant("empty"),
    "positive inf": INFINITY,
    "plus inf": INFINITY,
    "negative inf": negated(INFINITY),
    "minus inf": negated(INFINITY),
    "dne": Text("does not exist"),
}


def entries(tokens: Sequence[Token], *, depth: int = 0) -> Node:
    """All items of an answer, whose tokens these are.

    Raises:
        Unreadable: they are none, or more than that.
    """
    cursor = Cursor(tokens, entry, depth=depth)
    items = [entry(cursor)]
    joins: set[str] = set()
    while True:
        if passed_over(cursor, items[-1]):
            continue
        if not _separator(cursor, joins):
            break
        items.append(entry(cursor))
    if cursor.position < len(cursor.tokens):
        raise UnknownNotation(f"{cursor.token.text!r} is out of place")
    if len(items) == 1:
        return items[0]
    items = shared_modulus(items)
    return Group("or" if "or" in joins else "and" if "and" in joins else ",", tuple(items))


def _separator(cursor: Cursor, joins: set[str]) -> bool:
    if cursor.at("sep", DECIMAL_COMMA):
        raise Unreadable("a decimal comma")
    found = bool(cursor.take("sep") or cursor.take("row"))
    join = cursor.take("join")
    if join:
        joins.add(join.text)
    return found or bool(join)


def entry(cursor: Cursor) -> Node:
    """A value, or a chain of relations; what a list, a tuple or a set has between its commas."""
    name = name_before_equals(cursor) if cursor.has_relations else None
    terms: list[Node] = [name or _ratio(cursor)]
    signs = []
    while sign := _relation_sign(cursor):
        signs.append(sign)
        terms.append(_ratio(cursor))
    if modulus := _modulus(cursor):
        terms, signs = in_residues(terms, signs, modulus)
    return Relation(tuple(terms), tuple(signs)) if signs else terms[0]


def _relation_sign(cursor: Cursor) -> str | None:
    if cursor.at("word", "in") and cursor.ahead().kind == "open":
        cursor.position += 1
        return "in"
    sign = cursor.take("rel")
    return sign.text if sign else None


def _modulus(cursor: Cursor) -> Node | None:
    """The 7 of "3 mod 7", "3 (mod 7)" and "3 \\pmod{7}"."""
    bracket = cursor.at("open", "(") and cursor.ahead().kind == "mod"
    if not bracket and not cursor.at("mod"):
        return None
    cursor.position += 2 if bracket else 1
    modulus = cursor.nested(power)
    if bracket:
        cursor.expect("close", ")")
    return scalar(modulus)


def _ratio(cursor: Cursor) -> Node:
    start = cursor.position
    parts = [_union(cursor)]
    while not cursor.bars and (cursor.take("op", ":") or _to(cursor)):
        parts.append(_union(cursor))
    if len(parts) == 1:
        return parts[0]
    signs = " ".join(token.text for token in cursor.tokens[start : cursor.position])
    kinds = {"time": _TIME, "clock": _CLOCK}
    kind = next((kind for kind, written in kinds.items() if written.fullmatch(signs)), ":")
    return Group(kind, tuple(parts))


def _to(cursor: Cursor) -> Token | None:
    """The "to" of "3 to 2"."""
    return cursor.take("word", "to") if cursor.ahead().kind == "number" else None


def _union(cursor: Cursor) -> Node:
    node = _side(cursor)
    count = 0
    while cursor.at("set") or union_letter(cursor):
        name = cursor.next().text.replace("U", "union")
        node = Apply(name, (node, _side(cursor)))
        count += 1
        if count > _MAX_UNIONS:
            raise OverLimit(f"more than {_MAX_UNIONS} unions")
    return node


def _side(cursor: Cursor) -> Node:
    if not cursor.at("number") and (special := _special(cursor)) is not None:
        return special
    return _value(cursor, None)


def _value(cursor: Cursor, currency: str | None) -> Node:
    """An expression with what stands behind it; a sign of money within is that value's own."""
    outer, cursor.currency = cursor.currency, currency
    value = total(cursor)
    node = quantity(cursor, value, cursor.currency)
    cursor.currency = outer
    return node


# -- what begins like no expression ---------------------------------------------------------------


def _special(cursor: Cursor) -> Node | None:
    """A point, a system, an amount of money, words."""
    if named_point(cursor):
        return _point(cursor)
    if (found := system(cursor, _row)) is not None:
        return found
    if cursor.take("ellipsis"):
        return Constant("...")
    if written := cursor.take("date"):
        return date(written.text)
    if written := cursor.take("time"):
        return time(written.text)
    if written := cursor.take("numeral"):
        return numeral(written.text)
    if cursor.token.text.casefold() in _ABOUT and cursor.ahead().kind in ("number", "currency"):
        cursor.position += 1
    if length := letters(cursor):
        return _letters(cursor, length)
    return _money_first(cursor) or _in_words(cursor)


def _letters(cursor: Cursor, length: int) -> Node:
    written = cursor.tokens[cursor.position :][:length]
    cursor.position += length
    names: list[Node] = [
        Constant(token.text) if token.kind == "const" else Symbol(token.text) for token in written
    ]
    return Apply("letters", tuple(names))


def _point(cursor: Cursor) -> Node:
    return Relation((Symbol(cursor.next().text), bracketed(cursor)), ("at",))


def _row(cursor: Cursor, tokens: Sequence[Token]) -> Node:
    """One row of a system, or one cell, as an answer of its own."""
    if cursor.depth >= MAX_DEPTH:
        raise OverLimit(f"nested deeper than {MAX_DEPTH}")
    return entries(tokens, depth=cursor.depth + 1)


def _money_first(cursor: Cursor) -> Node | None:
    """The amount of "Rs. 450" and "USD 450"."""
    token = cursor.token
    unit = canonical_unit(token.text) if token.kind in ("word", "symbol") else None
    distance = 2 if cursor.ahead().text == "." else 1
    if unit is None or not is_currency(unit) or cursor.ahead(distance).kind != "number":
        return None
    cursor.position += distance
    return _value(cursor, token.text)


def _in_words(cursor: Cursor) -> Node | None:
    words = cursor.words(MAX_WORDS)
    if not words and article(cursor):
        words = [cursor.token.text.casefold(), *cursor.words(MAX_WORDS, start=1)]
    if words in (["minus"], ["negative"]) and cursor.ahead().kind in _SIGNED:
        cursor.replace(Token("op", "-"))
        return None
    if place := ordinal(words):
        cursor.position += len(words)
        return Quantity(Number(Fraction(place)), ORDINAL)
    if said := _time_in_words(cursor, words):
        return said
    if words and (number := leading_number(words)):
        cursor.position += number[1]
        return quantity(cursor, Number(number[0]), None)
    if words[:1] == ["a"] and len(words) > 1 and multiplier(words[1], tight=False):  # a dozen
        cursor.position += 1
        return quantity(cursor, Number(Fraction(1)), None)
    if words and (found := han_number(cursor.token.text)) and can_follow_number(found[1]):
        cursor.replace(Token("word", found[1]))
        cursor.position += not found[1]
        return quantity(cursor, Number(found[0]), None)
    if words[:1] and words[0] in OF_SEVERAL and cursor.ahead().kind == "open":
        return None
    if words and (len(words) > 1 or len(words[0]) > 1 or article(cursor)):
        return _text(cursor)
    return None


def _time_in_words(cursor: Cursor, words: list[str]) -> Node | None:
    """The time of "half past three", and of "half past 8 in the evening"."""
    behind = cursor.ahead(len(words))
    said = time_in_words([*words, behind.text] if behind.kind == "number" else words)
    if said is None:
        return None
    hour, minute, used = said
    cursor.position += used
    return Group(
        "clock", (Number(Fraction(hour)), quantity(cursor, Number(Fraction(minute)), None))
    )


def _text(cursor: Cursor) -> Node:
    words = []
    while cursor.token.kind in ("word", "number", "symbol", "const", "op", "degree"):
        if cursor.token.kind == "op" and cursor.token.text not in ("-", "/", "'", "."):
            break
        words.append(cursor.next().text.casefold())
        if len(words) > MAX_WORDS:
            raise Unreadable(f"a text of more than {MAX_WORDS} words")
    if len(words) > 1 and words[0] in ("a", "an", "the"):
        del words[0]
    phrase = " ".join(words)
    return _PHRASES.get(phrase, Text(phrase))
