"""Names of what was asked, in front of its value: p(x), P(X = 2), AB, angle ABC, dy/dx.

A name is no expression: "P(2)" is not P times 2 and "AB" not A times B, but only the sign of
equality behind it shows that. `name_before_equals` therefore looks ahead to that sign.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewards.math.limits import Unreadable
from rewards.math.nodes import Apply, Node, Symbol
from rewards.math.read.cursor import Cursor
from rewards.math.read.tokens import Token
from rewards.math.vocabulary.nouns import SENTENCE_WORDS
from rewards.math.vocabulary.words import leading_number, word_set

_MAX_TOKENS = 24
_STOPS = ("sep", "row", "join", "cell", "end")
_FUNCTION_LETTERS = frozenset("pqruvwPQRSTUVENLAWMDGCBK")
_PARSED_FUNCTIONS = frozenset("fghFGH")  # the grammar reads these itself
_DIFFERENTIALS = word_set("d partial")
FIGURES = {"angle": "∠", "measuredangle": "∠", "triangle": "△"}


def name_before_equals(cursor: Cursor) -> Symbol | None:
    """Take a name that an equality sign follows, `None` where an expression stands instead."""
    left = _before_equals(cursor)
    if left is None:
        return None
    name = _operator(left) or _norm(left) or _figure(left) or _call(left) or _described(left)
    if name is None:
        return None
    cursor.position += len(left)
    return Symbol(name)


def _before_equals(cursor: Cursor) -> Sequence[Token] | None:
    depth = 0
    for length, token in enumerate(cursor.tokens[cursor.position :][: _MAX_TOKENS + 1]):
        depth += (token.kind == "open") - (token.kind == "close")
        if depth < 0 or (depth == 0 and token.kind in _STOPS):
            return None
        if depth == 0 and token.kind == "rel":
            found = token.text in ("=", "~") and length > 0
            return cursor.tokens[cursor.position : cursor.position + length] if found else None
    return None


def _operator(left: Sequence[Token]) -> str | None:
    """The d/dx f(x) of "d/dx f(x) = 2x"."""
    signs = [token.text for token in left]
    found = signs[:3] == ["frac", "{", "d"] and signs[3] in ("}", "^") and "d" in signs[4:]
    return "".join(signs) if found else None


def _norm(left: Sequence[Token]) -> str | None:
    is_norm = len(left) > 2 and left[0].text == left[-1].text == "‖"
    return "".join(token.text for token in left) if is_norm else None


def _figure(left: Sequence[Token]) -> str | None:
    """An angle or a triangle with its corners: the measure of "m∠A" is the same name."""
    start = 1 if left[0].text == "m" and len(left) > 1 else 0
    if left[start].kind != "figure":
        return None
    corners = left[start + 1 :]
    plain = all(
        token.kind in ("symbol", "const", "number", "op", "open", "close") for token in corners
    )
    return _either_way("".join(token.text for token in corners)) if corners and plain else None


def _either_way(corners: str) -> str:
    """Angle ABC is angle CBA, and segment AB is BA."""
    return min(corners, corners[::-1]) if corners.isalpha() else corners


def _call(left: Sequence[Token]) -> str | None:
    """The p(x) of "p(x) = ...": a letter and one pair of brackets, and no product."""
    head = left[0]
    opening = next((i for i, token in enumerate(left) if token.text in ("(", "[")), 0)
    if head.kind not in ("symbol", "const") or not opening or left[-1].text not in (")", "]"):
        return None
    if opening == 1 and head.text in _PARSED_FUNCTIONS:
        return None
    if any(token.kind == "close" and token.text in ")]" for token in left[opening:-1]):
        return None
    marks = left[1:opening]
    inside = left[opening + 1 : -1]
    lone = len(inside) == 1 and inside[0].kind == "symbol" and inside[0].text != head.text
    marked = bool(marks) and marks[0].text in ("'", "_", "^")
    if (opening > 1 and not marked) or not (lone or marked or head.text in _FUNCTION_LETTERS):
        return None
    return "".join(token.text for token in left)


def _described(left: Sequence[Token]) -> str | None:
    """Words: "area of ABC", "gcd(12, 8)"."""
    words = [token.text.casefold() for token in left if token.kind == "word"]
    if left[0].kind != "word" or len(left[0].text) == 1 or leading_number(words):
        return None
    if not SENTENCE_WORDS.isdisjoint(words):
        raise Unreadable("a sentence before the value")
    return " ".join(token.text.casefold() for token in left)


def figure(cursor: Cursor, kind: str) -> Symbol:
    """Read the corners behind an angle or a triangle sign.

    Raises:
        Unreadable: no corner follows.
    """
    corners = []
    while cursor.at("symbol") or cursor.at("number"):
        corners.append(cursor.token.text)
        cursor.position += 1
    if not corners:
        raise Unreadable("a figure without its corners")
    letters = "".join(corners)
    return Symbol(FIGURES[kind] + (letters if kind == "triangle" else _either_way(letters)))


def is_corners(node: Node) -> bool:
    """Whether a product of letters is the name of a segment or polygon: "AB"."""
    match node:
        case Apply("mul" | "letters", args):
            return len(args) <= 6 and all(isinstance(a, Symbol) and a.name.isupper() for a in args)
        case Apply("abs", (inner,)):
            return is_corners(inner)
    return False


def is_size(node: Node) -> bool:
    """Whether a node is |z| or sin A: asked for as a rule, but |x| = 5 and sin x = 1 ask for x."""
    match node:
        case Apply("abs", (Symbol(name),)):
            return name not in ("x", "y", "n")
        case Apply("sin" | "cos" | "tan", (Symbol(name),)):
            return name.isupper() or len(name) > 1
    return False


def is_derivative(node: Node) -> bool:
    """Whether a quotient is dy/dx, d/dx f(x) or the like."""
    match node:
        case Apply("div", (Apply("mul", (Symbol(above), *_)), Apply("mul", (Symbol(below), *_)))):
            return above in _DIFFERENTIALS and below in _DIFFERENTIALS
    return False


def is_operator(node: Node) -> bool:
    """Whether a quotient is d/dx or d^2/dx^2, of what stands behind it."""
    match node:
        case Apply("div", (Symbol("d") | Apply("pow", (Symbol("d"), _)), below)):
            return isinstance(below, Apply) and below.name == "mul" and below.args[0] == Symbol("d")
    return False


def plain_name(node: Node) -> str | None:
    """One name for each way of writing a label: AB, |AB| and BA are one segment."""
    match node:
        case Symbol(name):
            return name
        case Apply("abs", (inner,)) if is_corners(node):
            return plain_name(inner)
        case Apply("mul" | "letters", args) if is_corners(node):
            return _either_way("".join(arg.name for arg in args if isinstance(arg, Symbol)))
    return None
