"""Reads a whole answer: lists, relations, unions, ratios, units, words, on top of expressions.

    answer   := entry (separator entry)*        separator: , ; and or \\\\
    entry    := ratio (relation-sign ratio)*
    ratio    := union (":" union)*
    union    := side (("∪"|"∩"|"\\") side)*
    side     := expression [scale] [unit] | words | "..."
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rewards.math.limits import OverLimit, Unreadable
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
    walk,
)
from rewards.math.normalise import DECIMAL_COMMA
from rewards.math.parse import ExpressionParser
from rewards.math.tokens import Token, tokenize
from rewards.math.units import SCALES, combine, is_unit_name, unit_of
from rewards.math.words import leading_number, word_set

_MAX_WORDS = 12
_MAX_REMEMBERED_CHARS = 256
_MAX_UNIONS = 32
_FILLERS = word_set("of total the a an each altogether left away more approximately about")
_NO_UNITS = word_set(
    "is are was were be been not no never answer answers correct wrong right because so since if "
    "it this that these which can cannot could may might must should would will maybe perhaps"
)
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cubed": 3, "squared": 2}
_PHRASES: dict[str, Node] = {
    "all real numbers": Constant("R"),
    "all reals": Constant("R"),
    "real numbers": Constant("R"),
    "no solution": Constant("empty"),
    "no solutions": Constant("empty"),
    "no real solutions": Constant("empty"),
    "empty set": Constant("empty"),
    "the empty set": Constant("empty"),
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
    letter: str | None
    """The option an answer like "(B)" or "E: the fourth statement" names."""


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
    tokens = _trimmed(tokenize(text))
    if not tokens:
        raise Unreadable("empty")
    letter = option_letter(tokens)
    try:
        return Answer(_AnswerParser(tokens).answer(), key_of(tokens), letter)
    except RecursionError:
        raise OverLimit("nested too deeply") from None
    except Unreadable:
        if letter is None:
            raise
        return Answer(Symbol(letter), letter, letter)


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
    while start < end and (tokens[start].text, tokens[start].kind) in (("=", "rel"), (":", "op")):
        start += 1
    return tokens[start:end]


class _AnswerParser(ExpressionParser):
    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self.currency: str | None = None

    def answer(self) -> Node:
        entries = [self.entry()]
        joins: set[str] = set()
        while self._separator(joins):
            entries.append(self.entry())
        if self.position < len(self.tokens):
            raise Unreadable(f"{self.token.text!r} is out of place")
        if len(entries) == 1:
            return entries[0]
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
        terms = [self._ratio()]
        signs = []
        while sign := self._relation_sign():
            signs.append(sign)
            terms.append(self._ratio())
        return Relation(tuple(terms), tuple(signs)) if signs else terms[0]

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
        if self.take("ellipsis"):
            return Constant("...")
        words = self._words()
        if words and (number := leading_number(words)):
            value, used = number
            self.position += used
            return self._with_unit(Number(value))
        if (words and (len(words) > 1 or len(words[0]) > 1)) or self._article():
            return self._text()
        outer, self.currency = self.currency, None
        node = self._with_unit(self.sum())
        self.currency = outer
        return node

    def atom(self) -> Node:
        if self.at("currency"):
            self.currency = self.token.text
            self.position += 1
        return super().atom()

    # -- words --------------------------------------------------------------------------------

    def _words(self) -> list[str]:
        words = []
        for token in self.tokens[self.position : self.position + _MAX_WORDS]:
            if token.kind != "word":
                break
            words.append(token.text.casefold())
        return words

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
            if len(words) > _MAX_WORDS:
                raise Unreadable(f"a text of more than {_MAX_WORDS} words")
        phrase = " ".join(words)
        return _PHRASES.get(phrase, Text(phrase))

    # -- units --------------------------------------------------------------------------------

    def _with_unit(self, node: Node) -> Node:
        if isinstance(node, Apply) and node.name == "degree" and self.at("word", "C", "F"):
            node = Apply("mul", (node, Symbol(self.token.text)))
            self.position += 1
        parts: list[tuple[str, int]] = []
        if self.currency:
            parts += unit_of(self.currency)
        if scale := self._scale():
            factor = Number(Fraction(scale))
            node = (
                Number(node.value * scale)
                if isinstance(node, Number)
                else Apply("mul", (node, factor))
            )
        if self.take("op", "%"):
            node = Apply("percent", (node,))
        if sign := self.take("currency"):
            parts += unit_of(sign.text)
        parts += self._unit_words()
        match node:
            case Apply("mul", (Apply("degree", (value,)), Symbol("C" | "F" as letter))):
                return Quantity(value, unit_of("°" + letter))
        unit = combine(parts)
        if unit and isinstance(node, Group):
            raise Unreadable("a unit after a group")
        counted = any(isinstance(part, Number) for part in walk(node))
        if not counted and not all(is_unit_name(name) for name, _ in unit):
            raise Unreadable("words after letters are a sentence, not a quantity")
        return Quantity(node, unit) if unit else node

    def _scale(self) -> int | None:
        if self.token.kind == "word" and self.token.text.casefold() in SCALES:
            self.position += 1
            return SCALES[self.tokens[self.position - 1].text.casefold()]
        return None

    def _unit_words(self) -> list[tuple[str, int]]:
        parts: list[tuple[str, int]] = []
        power, direction = 1, 1
        for _ in range(_MAX_WORDS):
            word = self._unit_word(started=bool(parts))
            if word is None:
                return parts
            if word in _NO_UNITS:
                raise Unreadable("a sentence after the value")
            if word in ("per", "/"):
                direction = -1
            elif word in _POWERS and parts and word.endswith("d"):
                parts[-1] = (parts[-1][0], parts[-1][1] * _POWERS[word])
            elif word in _POWERS:
                power = _POWERS[word]
            elif word not in _FILLERS:
                power *= self._unit_exponent()
                parts += [(name, sign * power * direction) for name, sign in unit_of(word)]
                power = 1
        raise Unreadable("a unit of too many words")

    def _unit_word(self, *, started: bool) -> str | None:
        token = self.token
        if token.kind == "word":
            self.position += 1
            word = token.text.casefold().replace(" ", "")
            if word == "in" and self.at("word"):  # "12 in total" against "12 in"
                return "of"
            return word
        if token.text == "/" and token.kind == "op" and self._unit_continues():
            self.position += 1
            return "/"
        if started and token.kind in ("symbol", "op") and token.text in "*.hsmgl":
            self.position += 1
            return "of" if token.text in "*." else token.text
        return None

    def _unit_continues(self) -> bool:
        follower = self.tokens[self.position + 1 : self.position + 2]
        return bool(follower) and follower[0].kind in ("word", "symbol")

    def _unit_exponent(self) -> int:
        if not self.at("op", "^"):
            return 1
        self.position += 1
        braced = self.take("open", "{")
        sign = -1 if self.take("op", "-") else 1
        number = self.take("number")
        if braced:
            self.expect("close", "}")
        if not number or not number.text.isdigit() or len(number.text) > 1:
            raise Unreadable("the exponent of a unit must be one digit")
        return sign * int(number.text)
