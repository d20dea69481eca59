"""Sums, products and signs of nodes, made only of what may stand inside an expression."""

from __future__ import annotations

from rewards.math.limits import Unreadable
from rewards.math.nodes import (
    Apply,
    Based,
    Group,
    Matrix,
    Node,
    Quantity,
    Relation,
    Text,
    negated,
)

_NOT_SCALAR = (Group, Relation, Text, Quantity, Based)


def scalar(node: Node) -> Node:
    """The node itself.

    Raises:
        Unreadable: it is a list, a relation, words or a value with a unit.
    """
    if isinstance(node, _NOT_SCALAR):
        raise Unreadable(f"a {type(node).__name__.lower()} inside an expression")
    return node


def negative(node: Node) -> Node:
    """Minus a scalar."""
    return negated(scalar(node))


def add(terms: list[Node]) -> Node:
    """The sum of one term or more."""
    return terms[0] if len(terms) == 1 else Apply("add", tuple(map(scalar, terms)))


def multiply(factors: list[Node]) -> Node:
    """The product of one factor or more; a matrix is multiplied cell by cell.

    Raises:
        Unreadable: there are two matrices, or a factor that is no scalar.
    """
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
