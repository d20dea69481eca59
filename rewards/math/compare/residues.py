"""Whether two values up to a modulus are one."""

from __future__ import annotations

from fractions import Fraction

from rewards.math.compare.exact import exact
from rewards.math.limits import Undefined
from rewards.math.nodes import Apply, Node


def is_residue(node: Node) -> bool:
    return isinstance(node, Apply) and node.name == "residue"


def same_residue(left: Node, right: Node) -> bool:
    """Whether two residues are one class of the same modulus."""
    if not (isinstance(left, Apply) and isinstance(right, Apply)):
        return False
    try:
        first, second, modulus, other = map(exact, (*_pair(left, right, 0), *_pair(left, right, 1)))
    except Undefined:
        return False
    if first is None or second is None or not modulus or modulus != other:
        return left == right
    return (first - second) % abs(Fraction(modulus)) == 0


def _pair(left: Apply, right: Apply, place: int) -> tuple[Node, Node]:
    return left.args[place], right.args[place]
