"""The syntax tree of an answer: a handful of frozen records, no names of Python anywhere.

`Apply.name` is one of: add, mul, letters (a product that may be a name: HHT), div, pow, neg, pm,
mp (plus-minus and its opposite), root, percent, degree, factorial, double factorial, mixed, binom,
gcd, lcm, max, min, abs, floor, ceil, log, the one-argument functions of `vocabulary.FUNCTIONS`,
union, intersect, minus (of sets), residue (of a value and its modulus), or "call:f" for an unknown
function f.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Number:
    """An exact literal: "0.5", "1,000", "0.\\overline{3}". `places` counts written decimals."""

    value: Fraction
    places: int = 0


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable, with its subscript and primes in the name: "x", "a_1", "f'"."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """pi, e, i, inf, a set such as R or Z, "empty", or "..." inside a list."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Based:
    """A numeral with its base written below it: 204_5, ABC_16. It equals only itself."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Text:
    """Words, casefolded and single-spaced: "evelyn", "all real numbers"."""

    words: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with a unit: pairs of unit name and exponent, sorted by name."""

    value: Node
    unit: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Items in brackets "()", "[]", "(]", "[)", "{}", in ":" (a ratio), "clock" (a time
    of day, or a ratio that looks so), "time" (no ratio: 3:04, 30:00), "+" (the parts of one
    quantity: 2 hours 30 minutes), "date", "cases" (of "piece"s: a value and its condition), or
    bare: "," (a plain list), "or", "and"."""

    brackets: str
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """A chain `terms[0] signs[0] terms[1] ...` with signs = ~ != < > <= >= in, ≡ ≅ ∥ ⊥,
    and "at" of a point without a sign, A(1, 2)."""

    terms: tuple[Node, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple[Node, ...], ...]


Node: TypeAlias = (
    Number | Symbol | Constant | Apply | Based | Text | Quantity | Group | Relation | Matrix
)


def children(node: Node) -> tuple[Node, ...]:
    match node:
        case Apply(_, args):
            return args
        case Quantity(value, _):
            return (value,)
        case Group(_, items):
            return items
        case Relation(terms, _):
            return terms
        case Matrix(rows):
            return tuple(cell for row in rows for cell in row)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def variables(node: Node) -> frozenset[str]:
    """Names of all variables and unknown functions below `node`."""
    names = {part.name for part in walk(node) if isinstance(part, Symbol)}
    names |= {
        part.name for part in walk(node) if isinstance(part, Apply) and part.name[:5] == "call:"
    }
    return frozenset(names)


ZERO = Number(Fraction(0))
INFINITY = Constant("inf")


def negated(node: Node) -> Node:
    return Apply("neg", (node,))
