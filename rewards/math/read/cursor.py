"""The state of the parser: a position in a list of tokens, and what is open around it.

Every rule of the grammar is a function of a cursor, which reads off what it knows and leaves the
rest: `tokens` makes the list, `answer` holds the highest rule and the map of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from rewards.math.limits import MAX_DEPTH, OverLimit, Unreadable
from rewards.math.nodes import Node
from rewards.math.read.tokens import Token

END = Token("end of answer", "")


class Cursor:
    """Reads tokens from left to right.

    Args:
        entry: the rule for one item of a bracket. Brackets hold whole relations, which are read by
            way of brackets: here the grammar closes its circle, and its files need none.

    Attributes:
        depth: of brackets, functions and exponents around the position.
        bars: how many "|" around it are still to be closed, so that one more does not open.
        currency: the last sign of money read that no value has taken as its unit yet.
    """

    def __init__(self, tokens: Sequence[Token], entry: Rule, *, depth: int = 0) -> None:
        self.tokens = tokens
        self.entry = entry
        self.position = 0
        self.depth = depth
        self.bars = 0
        self.currency: str | None = None
        self.has_relations = any(token.kind == "rel" for token in tokens)

    @property
    def token(self) -> Token:
        """The current one; `END` behind the last."""
        return self.tokens[self.position] if self.position < len(self.tokens) else END

    def ahead(self, distance: int = 1) -> Token:
        """The token so far behind the current one."""
        index = self.position + distance
        return self.tokens[index] if index < len(self.tokens) else END

    def at(self, kind: str, *texts: str) -> bool:
        """Whether the current token is of this kind, and one of these texts if there are any."""
        if self.position >= len(self.tokens):
            return False
        token = self.tokens[self.position]
        return token.kind == kind and (not texts or token.text in texts)

    def take(self, kind: str, *texts: str) -> Token | None:
        """Take the current token if it is such a one."""
        if self.position >= len(self.tokens):
            return None
        token = self.tokens[self.position]
        if token.kind != kind or (texts and token.text not in texts):
            return None
        self.position += 1
        return token

    def next(self) -> Token:
        """Take the current token."""
        self.position += 1
        return self.tokens[self.position - 1]

    def expect(self, kind: str, text: str) -> None:
        """Take such a token.

        Raises:
            Unreadable: another stands there.
        """
        if not self.take(kind, text):
            raise Unreadable(f"expected {text!r}, found {self.token.text or 'the end'!r}")

    def replace(self, token: Token) -> None:
        """Put another token in the place of the current one: the part of it not yet read."""
        self.tokens = [*self.tokens[: self.position], token, *self.tokens[self.position + 1 :]]

    def words(self, limit: int, *, start: int = 0) -> list[str]:
        """The words from `start` behind here on, casefolded, up to the first that is none."""
        words: list[str] = []
        for token in self.tokens[self.position + start : self.position + start + limit]:
            if token.kind != "word":
                break
            words.append(token.text.casefold())
        return words

    def nested(self, rule: Rule) -> Node:
        """Read by `rule`, one level deeper.

        Raises:
            OverLimit: that is too deep; Python's own stack would overflow.
        """
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise OverLimit(f"nested deeper than {MAX_DEPTH}")
        try:
            return rule(self)
        finally:
            self.depth -= 1


Rule: TypeAlias = Callable[[Cursor], Node]
"""What reads one thing off the tokens.

Raises:
    Unreadable: another thing stands there.
"""
