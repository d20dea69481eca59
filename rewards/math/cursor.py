"""A position in a list of tokens: look, take, expect, and never deeper than the limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rewards.math.limits import MAX_DEPTH, OverLimit, Unreadable
from rewards.math.nodes import Node
from rewards.math.tokens import Token

END = Token("end of answer", "")


class Cursor:
    """Reads tokens from left to right."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.position] if self.position < len(self.tokens) else END

    def ahead(self, distance: int = 1) -> Token:
        """The token so far behind the current one."""
        index = self.position + distance
        return self.tokens[index] if index < len(self.tokens) else END

    def at(self, kind: str, *texts: str) -> bool:
        if self.position >= len(self.tokens):
            return False
        token = self.tokens[self.position]
        return token.kind == kind and (not texts or token.text in texts)

    def take(self, kind: str, *texts: str) -> Token | None:
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
        if not self.take(kind, text):
            raise Unreadable(f"expected {text!r}, found {self.token.text or 'the end'!r}")

    def replace(self, token: Token) -> None:
        """Put another token in the place of the current one: the part of it not yet read."""
        self.tokens = [*self.tokens[: self.position], token, *self.tokens[self.position + 1 :]]

    def words(self, limit: int) -> list[str]:
        """The words from here on, casefolded, up to the first token that is none."""
        words: list[str] = []
        for token in self.tokens[self.position : self.position + limit]:
            if token.kind != "word":
                break
            words.append(token.text.casefold())
        return words

    def nested(self, read: Callable[[], Node]) -> Node:
        """Run `read` one level deeper."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise OverLimit(f"nested deeper than {MAX_DEPTH}")
        try:
            return read()
        finally:
            self.depth -= 1
