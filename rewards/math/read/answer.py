"""Reads a whole answer, LaTeX or plain: the highest rule of the parser, and what it hands on.

    tokens       text to tokens
    answer       entry (separator entry)*                separator: , ; and or \\
    entries      relations, ratios, unions, quantities, words
    expressions  sums, products, powers, atoms
    brackets     groups, sets, intervals, matrices; what they hold are entries again
    cursor       the state they share

A rule is a function that takes a cursor and gives a node of the tree (`nodes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from rewards.math.limits import OverLimit, Unreadable
from rewards.math.nodes import Group, Node, Symbol, Text
from rewards.math.read.entries import entries
from rewards.math.read.formulae import formula
from rewards.math.read.normalise import single_backslashes, unwrapped
from rewards.math.read.tokens import Token, tokenize

_MAX_REMEMBERED_CHARS = 256
_LEADING = (("=", "rel"), ("~", "rel"), (":", "op"))


@dataclass(frozen=True, slots=True)
class Answer:
    """A parsed answer. Two answers with the same `key` are the same text up to layout."""

    node: Node
    key: str
    letter: str | None = None
    """The option an answer like "(B)" or "E: the fourth statement" names."""
    option_value: Node | None = None
    """What stands behind the option's letter: the 12 of "(B) 12"."""
    again: tuple[Node, Node] | None = None
    """What stands before and in the brackets of "5/2 (2.5)", if it may be one value said twice."""
    formula: str | None = None
    """One spelling of it, if it is a chemical formula."""


def read(text: str) -> Answer:
    """Parse an answer, LaTeX or plain.

    Raises:
        Unreadable: it is not an answer; OverLimit if only its size forbids it.
    """
    return _remembered(text) if len(text) <= _MAX_REMEMBERED_CHARS else _parsed(text)


@lru_cache(maxsize=2048)
def _remembered(text: str) -> Answer:
    """Most answers of a batch repeat; only short ones are kept, so the memory is bounded."""
    return _parsed(text)


def _parsed(text: str) -> Answer:
    text = unwrapped(single_backslashes(text))
    compound = formula(text)
    try:
        return replace(_read_tokens(text), formula=compound)
    except OverLimit:
        raise
    except Unreadable:
        if compound is None:
            raise
        return Answer(Text(compound), compound, formula=compound)


def _read_tokens(text: str) -> Answer:
    tokens = _trimmed(tokenize(text))
    if not tokens:
        raise Unreadable("empty")
    key = key_of(tokens)
    letter = option_letter(tokens)
    again = _said_again(tokens)
    try:
        return Answer(entries(tokens), key, letter, _option_value(tokens, letter), again)
    except RecursionError:
        raise OverLimit("nested too deeply") from None
    except Unreadable:
        if letter is not None:
            return Answer(Symbol(letter), letter, letter)
        if again is None:
            raise
        return Answer(Group("or", again), key, again=again)


def _option_value(tokens: Sequence[Token], letter: str | None) -> Node | None:
    """The 12 of "(B) 12"."""
    closing = next((i for i, token in enumerate(tokens[:4]) if token.text in (")", ":")), None)
    if letter is None or closing is None or closing + 1 >= len(tokens):
        return None
    return _entries_or_none(tokens[closing + 1 :])


def _entries_or_none(tokens: Sequence[Token]) -> Node | None:
    try:
        return entries(tokens)
    except (Unreadable, RecursionError):
        return None


def _said_again(tokens: Sequence[Token]) -> tuple[Node, Node] | None:
    """The two values of "5/2 (2.5)" and "5/2 (or 2.5)", which are spelled in two ways.

    Without the space before its bracket it is a product, and so is 2 (2).
    """
    opening = next((i for i in range(len(tokens) - 1, 0, -1) if tokens[i].text == "("), 0)
    if not (opening and tokens[opening].gap and tokens[-1].text == ")"):
        return None
    before, inside = tokens[:opening], tokens[opening + 1 : -1]
    inside = _trimmed(inside[1:] if inside and inside[0].text == "or" else inside)
    if not inside or key_of(before) == key_of(inside):
        return None
    first, second = _entries_or_none(before), _entries_or_none(inside)
    if first is None or second is None or Text in (type(first), type(second)):
        return None
    return first, second


def key_of(tokens: Sequence[Token]) -> str:
    """The answer's signs run together, with a space only between two numbers."""
    parts = []
    previous = ""
    for token in tokens:
        parts.append(" " if token.kind == previous == "number" else "")
        parts.append(token.text)
        previous = token.kind
    return "".join(parts)


def option_letter(tokens: Sequence[Token]) -> str | None:
    """A leading capital that is the whole answer or is set off: "B", "(B) 12", "E: true"."""
    signs = [token.text for token in tokens[:4]]
    if signs[0].casefold() in ("option", "choice"):
        signs = signs[1:] or signs
    if signs[:1] == ["("] and signs[2:3] == [")"]:
        signs = [signs[1], ")"]
    head, follower = (signs[0], signs[1] if len(signs) > 1 else "")
    is_letter = len(head) == 1 and "A" <= head <= "J"
    return head if is_letter and (not follower or follower in (":", ")", ".")) else None


def _trimmed(tokens: Sequence[Token]) -> Sequence[Token]:
    """Without the full stop or comma a sentence left at the end, and an "=" at the start."""
    start, end = 0, len(tokens)
    while start < end and tokens[end - 1].kind in ("op", "sep", "row"):
        if tokens[end - 1].text not in (".", ",", ";", "\\\\", ":"):
            break
        end -= 1
    while start < end and (tokens[start].text, tokens[start].kind) in _LEADING:
        start += 1
    return tokens[start:end]
