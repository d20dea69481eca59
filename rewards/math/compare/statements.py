"""What a node states: its label, its value, the members of its list, its total in base units."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from string import ascii_lowercase

from rewards.math.compare.scalars import plain_same
from rewards.math.limits import Unreadable
from rewards.math.nodes import (
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
    variables,
    walk,
)
from rewards.math.read.names import is_corners, is_derivative, is_size, plain_name
from rewards.math.vocabulary.units import Unit, conversion

BARE = (",", "or", "and")
EQUALITIES = frozenset(("=", "~", "≡", "at"))
_UNKNOWNS = frozenset("xyz")


class Contradiction(Unreadable):
    """A chain of equalities that does not hold: "3 = 7"."""


def settle(node: Node) -> tuple[Node | None, Node]:
    """Split "x = 1 + 2 = 3" into its label x and its value 3.

    A label is a name alone on one side; equations in several unknowns and inequalities stay.

    Raises:
        Contradiction: constants called equal are not.
    """
    if isinstance(node, Group) and node.brackets == ":" and isinstance(node.items[0], Text):
        return None, node.items[-1]  # "Answer: 7"
    if not isinstance(node, Relation):
        return None, node
    if node.signs == ("in",) and isinstance(node.terms[0], Symbol):
        return node.terms[0], node.terms[1]
    if not set(node.signs) <= EQUALITIES:
        return None, node
    terms = _before_rounding(node)
    if len(terms) == 2 and isinstance(terms[1], Symbol) and not variables(terms[0]):
        terms = terms[::-1]
    label = terms[0] if len(terms) > 1 and is_label(terms[0]) else None
    if label is None and len(terms) > 2 and variables(terms[0]):
        label = _asked(terms)  # "m + n = 3 + 14 = 17"
    values = terms[1:] if label else terms
    for value, last in pairwise(values):
        if plain_same(value, last) or plain_same(_bare(value), _bare(last)):
            continue  # the unit may stand behind the last term alone: "3 * 4 = 12 dollars"
        if variables(value) | variables(last):
            if len(terms) == 2:
                return None, Relation(terms, ("=",))
            if label and not variables(values[-1]):  # "V = a^3 = 8": the letters were filled in
                continue
        raise Contradiction("a chain of equalities that does not hold")
    value = values[-1]
    if label and (variables(value) or not is_label(label)):
        return None, Relation((label, value), ("=",))
    return label, value


def as_choices(node: Node, other: Node) -> Node:
    """C(5, 2) as the number of choices, where the other side is a number; else it is a point.

    C(5, 1) stays one: whoever is asked for a coordinate must not be paid for the point. So does
    C = (5, 2), which is no number in anyone's notation.
    """
    match node, other:
        case (
            Relation((Symbol("C"), Group("()", (Number(above), Number(below)))), ("at",)),
            Number(),
        ) if above.denominator == below.denominator == 1 and 1 < below < above - 1:
            return Apply("binom", (Number(above), Number(below)))
    return node


def _bare(node: Node) -> Node:
    """`node` without its units."""
    match node:
        case Quantity(value, _):
            return _bare(value)
        case Apply(name, args):
            return Apply(name, tuple(map(_bare, args)))
    return node


def _asked(terms: tuple[Node, ...]) -> Node | None:
    return None if any(variables(term) for term in terms[1:]) else terms[0]


def _before_rounding(node: Relation) -> tuple[Node, ...]:
    """The exact part of "x = pi ~ 3.14"; in "x ~ 3.14" the rounded value is all there is."""
    if "~" not in node.signs:
        return node.terms
    exact_part = node.terms[: node.signs.index("~") + 1]
    bare_label = len(exact_part) == 1 and is_label(exact_part[0])
    return node.terms if bare_label else exact_part


def is_label(node: Node) -> bool:
    """Whether a node is a name and no expression: x, (x, y), f(2), AB, dy/dx."""
    match node:
        case Symbol() | Text():
            return True
        case Apply(name, args) if name.startswith("call:"):
            return all(isinstance(arg, Symbol | Number) or is_corners(arg) for arg in args)
        case Group("()", items):
            return all(isinstance(item, Symbol) for item in items)
    return is_corners(node) or is_derivative(node) or is_size(node)


def same_label(first: Node, second: Node) -> bool:
    if first == second:
        return True
    name = plain_name(first)
    return name is not None and name == plain_name(second)


def named_value(relation: Relation, *, any_expression: bool) -> Node | None:
    """What "A = pi r^2" says about A; `None` where the left side is no name: 2x = 6, x + z = 1.

    A sum such as "m + n" is a name of what was asked too, but "x + z = 1" may be an unsolved
    equation: it counts only with `any_expression`, and "2x = 6" never does.
    """
    left, right = relation.terms[0], relation.terms[-1]
    if is_label(left):
        own = {plain_name(left)} | (variables(left) if is_corners(left) else set())
        lone = isinstance(right, Symbol) or not own.isdisjoint(variables(right))
        return None if lone else right
    names = variables(left)
    if variables(right) or len(names) < 2 or not (any_expression or not names <= _UNKNOWNS):
        return None
    return right


def is_curve(relation: Relation) -> bool:
    """Whether an equation describes points, y = 2x + 1: its right side alone does not."""
    match relation.terms[0]:
        case Symbol(name) if name in _UNKNOWNS:
            return not _UNKNOWNS.isdisjoint(variables(relation.terms[-1]))
        case Symbol("r" | "rho"):
            return not variables(relation.terms[-1]).isdisjoint(("theta", "varphi", "phi"))
    return False


def assignments(label: Node | None, value: Node) -> dict[str, Node]:
    """The names and values of "(x, y) = (1, 2)" or "x = 1, y = 2"; empty for anything else."""
    match label, value:
        case Group("()", names), Group("()", values) if len(names) == len(values):
            return {
                name.name: item
                for name, item in zip(names, values, strict=True)
                if isinstance(name, Symbol)
            }
        case None, Group(brackets, items) if brackets in BARE:
            settled = [settle(item) for item in items]
            named = {name.name: item for name, item in settled if isinstance(name, Symbol)}
            return named if len(named) == len(items) else {}
    return {}


def are_unknowns(named: dict[str, Node]) -> bool:
    """Whether names are of different things: x and y, not x_1 and x_2, which are roots of one."""
    return len({name.partition("_")[0] for name in named}) == len(named)


def in_order(named: dict[str, Node]) -> tuple[Node, ...]:
    """The values of "y = 3, x = 2" as (x, y) has them; those of "m = 2, b = 3" as they stand."""
    names = "".join(sorted(named))
    follow = len(names) == len(named) and (names in ascii_lowercase or _UNKNOWNS.issuperset(named))
    return tuple(named[name] for name in (names if follow else named))


def elements(node: Node) -> tuple[Node, ...] | None:
    """The members of a list or set, with each plus-minus written out; `None` if it is neither."""
    match node:
        case Constant("empty"):
            return ()
        case Group(brackets, items) if brackets in (*BARE, "{}"):
            return tuple(part for item in items for part in _unfolded(item))
    unfolded = _unfolded(node)
    return unfolded if len(unfolded) > 1 else None


def _unfolded(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Relation):
        label, value = settle(node)
        if label is None and node.signs in (("=",), ("at",)) and is_label(node.terms[0]):
            label, value = node.terms  # "x = a ± b" is not settled: its value is a formula
        if label is None:
            return (node,)
        return tuple(Relation((label, part), ("=",)) for part in _unfolded(value))
    if any(isinstance(part, Apply) and part.name in ("pm", "mp") for part in walk(node)):
        return _with_sign(node, "pm"), _with_sign(node, "mp")
    return (node,)


def _with_sign(node: Node, plus: str) -> Node:
    """`node` with every sign of kind `plus` read as +, the other as -."""
    match node:
        case Apply("pm" | "mp" as name, args):
            parts = tuple(_with_sign(arg, plus) for arg in args)
            last = parts[-1] if name == plus else negated(parts[-1])
            return Apply("add", (parts[0], last)) if len(parts) == 2 else last
        case Apply(name, args):
            return Apply(name, tuple(_with_sign(arg, plus) for arg in args))
        case Quantity(value, unit):
            return Quantity(_with_sign(value, plus), unit)
        case Group(brackets, items):
            return Group(brackets, tuple(_with_sign(item, plus) for item in items))
    return node


def spelled(letters: tuple[Node, ...]) -> str:
    """The word, casefolded as texts are, that a run of letters makes."""
    names = (letter.name for letter in letters if isinstance(letter, Symbol | Constant))
    return "".join(names).casefold()


def is_sum_of_parts(node: Node) -> bool:
    return isinstance(node, Group) and node.brackets == "+"


def total_of(node: Node) -> tuple[Unit, Node] | None:
    """A quantity, or the sum of its parts, in base units; `None` for what has no unit.

    >>> total_of(Quantity(Number(Fraction(2)), (("hour", 1),)))[0]
    (('time', 1),)
    """
    match node:
        case Quantity(value, unit):
            base, size = conversion(unit)
            return base, Apply("mul", (Number(size), value))
        case Apply("degree", (value,)):
            return (("arc", 1),), Apply("mul", (Number(Fraction(3600)), value))
        case Group("+", items):
            totals = [total for item in items if (total := total_of(item))]
            if len(totals) == len(items) and len({base for base, _ in totals}) == 1:
                return totals[0][0], Apply("add", tuple(value for _, value in totals))
    return None
