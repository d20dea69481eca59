"""Reads a whole answer: lists, relations, unions, ratios, units, words, on top of expressions.

    answer   := entry (separator entry)*        separator: , ; and or \\\\
    entry    := ratio (relation-sign ratio)*
    ratio    := union (":" union)*
    union    := side (("∪"|"∩"|"\\") side)*
    side     := expression [scale] [unit] | words | "..."
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from rewards.math.congruences import in_residues, shared_modulus
from rewards.math.formulae import formula
from rewards.math.groups import scalar
from rewards.math.limits import MAX_DEPTH, OverLimit, UnknownNotation, Unreadable
from rewards.math.names import name_before_equals
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
from rewards.math.normalise import DECIMAL_COMMA, single_backslashes, unwrapped
from rewards.math.parse import ExpressionParser
from rewards.math.quantities import quantity
from rewards.math.scaling import MAX_WORDS
from rewards.math.systems import system
from rewards.math.tokens import Token, tokenize
from rewards.math.units import ORDINAL, canonical_unit, is_currency
from rewards.math.words import leading_number, ordinal, word_set

_MAX_REMEMBERED_CHARS = 256
_MAX_UNIONS = 32
_LEADING = (("=", "rel"), ("~", "rel"), (":", "op"))
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


@dataclass(frozen=True, slots=True)
class Answer:
    """A parsed answer. Two answers with the same `key` are the same text up to layout."""

    node: Node
    key: str
    letter: str | None = None
    """The option an answer like "(B)" or "E: the fourth statement" names."""
    option_value: Node | None = None
    """What stands behind the option's letter: the 12 of "(B) 12"."""
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
    try:
        return Answer(_AnswerParser(tokens).answer(), key, letter, _option_value(tokens, letter))
    except RecursionError:
        raise OverLimit("nested too deeply") from None
    except Unreadable:
        if letter is None:
            raise
        return Answer(Symbol(letter), letter, letter)


def _option_value(tokens: Sequence[Token], letter: str | None) -> Node | None:
    """The 12 of "(B) 12"."""
    closing = next((i for i, token in enumerate(tokens[:4]) if token.text in (")", ":")), None)
    if letter is None or closing is None or closing + 1 >= len(tokens):
        return None
    try:
        return _AnswerParser(tokens[closing + 1 :]).answer()
    except (Unreadable, RecursionError):
        return None


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


class _AnswerParser(ExpressionParser):
    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self.currency: str | None = None
        self.has_relations = any(token.kind == "rel" for token in tokens)

    def answer(self) -> Node:
        entries = [self.entry()]
        joins: set[str] = set()
        while self._separator(joins):
            entries.append(self.entry())
        if self.position < len(self.tokens):
            raise UnknownNotation(f"{self.token.text!r} is out of place")
        if len(entries) == 1:
            return entries[0]
        entries = shared_modulus(entries)
        return Group("or" if "or" in joins else "and" if "and" in joins else ",", tuple(entries))

    def _separator(self, joins: set[str]) -> bool:
        if self.at("sep", DECIMAL_COMMA):
            raise Unreadable("a decimal comma")
        found = bool(self.take("sep") or self.take("row"))
        join = self.take("join")
        if join:
            joins.add(join.text)
        return found or bool(join)

    def entry(self) -> Node:
        name = name_before_equals(self) if self.has_relations else None
        terms: list[Node] = [name or self._ratio()]
        signs = []
        while sign := self._relation_sign():
            signs.append(sign)
            terms.append(self._ratio())
        if modulus := self._modulus():
            terms, signs = in_residues(terms, signs, modulus)
        return Relation(tuple(terms), tuple(signs)) if signs else terms[0]

    def _modulus(self) -> Node | None:
        """The 7 of "3 mod 7", "3 (mod 7)" and "3 \\pmod{7}"."""
        bracket = self.at("open", "(") and self.ahead().kind == "mod"
        if not bracket and not self.at("mod"):
            return None
        self.position += 2 if bracket else 1
        modulus = self.nested(self.power)
        if bracket:
            self.expect("close", ")")
        return scalar(modulus)

    def _relation_sign(self) -> str | None:
        if self.at("word", "in") and self.tokens[self.position + 1 : self.position + 2]:
            follower = self.tokens[self.position + 1]
            if follower.kind == "open":
                self.position += 1
                return "in"
        sign = self.take("rel")
        return sign.text if sign else None

    def _ratio(self) -> Node:
        parts = [self._union()]
        while not self.bars and self.take("op", ":"):
            parts.append(self._union())
        return Group(":", tuple(parts)) if len(parts) > 1 else parts[0]

    def _union(self) -> Node:
        node = self._side()
        count = 0
        while self.at("set") or self._union_letter():
            name = self.token.text.replace("U", "union")
            self.position += 1
            node = Apply(name, (node, self._side()))
            count += 1
            if count > _MAX_UNIONS:
                raise OverLimit(f"more than {_MAX_UNIONS} unions")
        return node

    def _side(self) -> Node:
        if not self.at("number") and (special := self._special()) is not None:
            return special
        outer, self.currency = self.currency, None
        value = self.sum()
        node = quantity(self, value, self.currency)
        self.currency = outer
        return node

    def _special(self) -> Node | None:
        """What begins like no expression: a point, a system, an amount of money, words."""
        if (found := self._named_point() or system(self, self._read_row)) is not None:
            return found
        if self.take("ellipsis"):
            return Constant("...")
        if self.token.text.casefold() in _ABOUT and self.ahead().kind in ("number", "currency"):
            self.position += 1
        return self._money_first() or self._in_words()

    def _in_words(self) -> Node | None:
        words = self.words(MAX_WORDS)
        if place := ordinal(words):
            self.position += len(words)
            return Quantity(Number(Fraction(place)), ORDINAL)
        if words and (number := leading_number(words)):
            self.position += number[1]
            return quantity(self, Number(number[0]), None)
        if (words and (len(words) > 1 or len(words[0]) > 1)) or self._article():
            return self._text()
        return None

    def _read_row(self, tokens: Sequence[Token]) -> Node:
        parser = _AnswerParser(tokens)
        parser.depth = self.depth + 1
        if parser.depth > MAX_DEPTH:
            raise OverLimit(f"nested deeper than {MAX_DEPTH}")
        return parser.answer()

    def _named_point(self) -> Node | None:
        """The P(2, 3) of a figure: a capital letter and its coordinates."""
        brackets = self.tokens[self.position + 1 :]
        end = next((i for i, token in enumerate(brackets) if token.kind == "close"), 0)
        inside = [token.kind for token in brackets[1:end]]
        tight = bool(brackets) and brackets[0].text == "(" and not brackets[0].gap
        if not (self.at("symbol") and self.token.text.isupper() and tight and "sep" in inside):
            return None
        name = Symbol(self.token.text)
        self.position += 1
        return Relation((name, self.bracketed()), ("=",))

    def _money_first(self) -> Node | None:
        """The amount of "Rs. 450" and "USD 450"."""
        unit = canonical_unit(self.token.text) if self.token.kind in ("word", "symbol") else None
        distance = 2 if self.ahead().text == "." else 1
        if unit is None or not is_currency(unit) or self.ahead(distance).kind != "number":
            return None
        outer, self.currency = self.currency, self.token.text
        self.position += distance
        value = quantity(self, self.sum(), self.currency)
        self.currency = outer
        return value

    def atom(self) -> Node:
        if self.at("currency"):
            self.currency = self.token.text
            self.position += 1
        return super().atom()

    # -- words --------------------------------------------------------------------------------

    def _article(self) -> bool:
        """A letter that is a word because a word follows: "a circle", "I agree"."""
        follower = self.tokens[self.position + 1 : self.position + 2]
        starts = self.token.kind == "word" or self.at("symbol", "a", "A", "I")
        return starts and bool(follower) and follower[0].kind == "word"

    def _text(self) -> Node:
        words = []
        while self.token.kind in ("word", "number", "symbol", "const", "op", "degree"):
            if self.token.kind == "op" and self.token.text not in ("-", "/", "'", "."):
                break
            words.append(self.token.text.casefold())
            self.position += 1
            if len(words) > MAX_WORDS:
                raise Unreadable(f"a text of more than {MAX_WORDS} words")
        if len(words) > 1 and words[0] in ("a", "an", "the"):
            del words[0]
        phrase = " ".join(words)
        return _PHRASES.get(phrase, Text(phrase))
