"""Everything between a bracket and its partner.

group   := "{" sum "}" | "(" entries ")" | "[" ... | "\\{" entries ["|" conditions] "\\}"
matrix  := "\\begin{pmatrix}" sum ("&" sum)* ("\\\\" ...)* "\\end{pmatrix}"
"""

from __future__ import annotations

from collections.abc import Sequence

from rewards.math.cursor import Cursor
from rewards.math.limits import MAX_ITEMS, OverLimit, Unreadable
from rewards.math.nodes import (
    Apply,
    Based,
    Constant,
    Group,
    Matrix,
    Node,
    Quantity,
    Relation,
    Text,
)
from rewards.math.tokens import Token
from rewards.math.words import word_set

_BRACKETS = {"(": ")", "[": "]", "\\{": "\\}", "<": ">", "floor": "floor", "ceil": "ceil"}
_NOT_SCALAR = (Group, Relation, Text, Quantity, Based)
_MATRICES = word_set("matrix pmatrix bmatrix Bmatrix smallmatrix array")


class GroupParser(Cursor):
    """The brackets; `sum` and `entry` are the grammar's."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self.bars = 0

    def sum(self) -> Node:
        """An expression."""
        raise NotImplementedError

    def entry(self) -> Node:
        """One item of a bracketed group; `AnswerParser` widens it to relations and units."""
        return self.sum()

    def brace_group(self) -> Node:
        self.expect("open", "{")
        node = self.nested(self.sum)
        if infix := self.take("infix"):
            name = "binom" if infix.text == "choose" else "div"
            node = Apply(name, (scalar(node), scalar(self.nested(self.sum))))
        if self.take("sep", ",", ";"):  # plain text writes sets without backslashes
            node = Group("{}", (node, *self.items(closing=True)))
        self.expect("close", "}")
        return node

    def bracketed(self) -> Node:
        opening = self.token.text
        self.position += 1
        bars, self.bars = self.bars, int(opening == "\\{")  # in a set "|" means "such that"
        items = self.items(closing=True)
        if opening == "\\{" and len(items) == 1 and self.take("op", "|", ":"):
            items = self.items(closing=True)
            opening = "such that"
        self.bars = bars
        closing = self.token.text
        if not self.take("close"):
            raise Unreadable(f"{opening!r} is never closed")
        if opening == "such that" and closing == "\\}" and items:
            return items[0] if len(items) == 1 else Group("and", items)
        if opening in ("(", "[") and closing in (")", "]"):
            if opening + closing == "[]" and (rows := _rows(items)):
                return Matrix(rows)
            if len(items) == 1 and opening + closing in ("()", "[]"):
                return items[0]
            if len(items) == 1:
                raise Unreadable("an interval must have two ends")
            return Group(opening + closing, items)
        if _BRACKETS.get(opening) != closing:
            raise Unreadable(f"{opening!r} closed by {closing!r}")
        if opening in ("floor", "ceil"):
            if len(items) != 1:
                raise Unreadable("a rounding bracket must hold one value")
            return Apply(opening, (scalar(items[0]),))
        if opening == "<":
            return items[0] if len(items) == 1 else Group("()", items)
        return Group("{}", items) if items else Constant("empty")

    def items(self, *, closing: bool) -> tuple[Node, ...]:
        """Entries up to the end or the closing bracket, separated by commas or semicolons."""
        if closing and self.at("close"):
            return ()
        items = [self.nested(self.entry)]
        while self.take("sep", ",", ";"):
            items.append(self.nested(self.entry))
            if len(items) > MAX_ITEMS:
                raise OverLimit(f"more than {MAX_ITEMS} items")
        return tuple(items)

    def absolute(self) -> Node:
        self.bars += 1
        inner = self.nested(self.sum)
        self.bars -= 1
        self.expect("op", "|")
        return Apply("abs", (scalar(inner),))

    def matrix(self, environment: str) -> Node:
        if environment not in _MATRICES:
            raise Unreadable(f"environment {environment!r} is not one of an answer")
        rows: list[tuple[Node, ...]] = []
        cells: list[Node] = []
        while not self.at("end"):
            cells.append(scalar(self.nested(self.sum)))
            if self.take("cell"):
                continue
            rows.append(tuple(cells))
            cells = []
            if not self.take("row"):
                break
        if not self.take("end", environment) or cells:
            raise Unreadable("a matrix must be closed, with a value in each cell")
        if not rows or len({len(row) for row in rows}) != 1:
            raise Unreadable("the rows of a matrix must have the same length")
        return Matrix(tuple(rows))


def _rows(items: tuple[Node, ...]) -> tuple[tuple[Node, ...], ...] | None:
    """The rows of a matrix written as lists, [[1, 2], [3, 4]]."""
    rows = tuple(item.items for item in items if isinstance(item, Group) and item.brackets == "[]")
    even = len(rows) == len(items) > 0 and len({len(row) for row in rows}) == 1
    return rows if even else None


def scalar(node: Node) -> Node:
    if isinstance(node, _NOT_SCALAR):
        raise Unreadable(f"a {type(node).__name__.lower()} inside an expression")
    return node


def multiply(factors: list[Node]) -> Node:
    if len(factors) == 1:
        return factors[0]
    matrices = [factor for factor in factors if isinstance(factor, Matrix)]
    scalars = [scalar(factor) for factor in factors if not isinstance(factor, Matrix)]
    if len(matrices) > 1:
        raise Unreadable("a product of matrices is not evaluated")
    if matrices:
        scale = multiply(scalars)
        return Matrix(tuple(tuple(multiply([scale, c]) for c in r) for r in matrices[0].rows))
    return Apply("mul", tuple(scalars))
