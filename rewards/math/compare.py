"""Whether an answer is the gold answer: structure first, then scalars.

Sets are unordered and tuples ordered, brackets matter, a finite list must be complete, units
agree where both sides have one, and an unsolved or contradictory answer is no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from rewards.math.limits import OverLimit, Undefined, Unreadable, renew_budget, spend
from rewards.math.nodes import (
    Apply,
    Based,
    Constant,
    Group,
    Matrix,
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
from rewards.math.numeric import same_zeros
from rewards.math.policy import MathPolicy
from rewards.math.regions import region_of
from rewards.math.scalars import is_degrees, plain_same, same_scalar
from rewards.math.units import conversion

_BARE = (",", "or", "and")
_PAIRING_COST = 20
_EQUALITIES = frozenset("=~")
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


class Contradiction(Unreadable):
    """A chain of equalities that does not hold: "3 = 7"."""


def equivalent(gold: Node, answer: Node, policy: MathPolicy) -> bool:
    """Whether `answer` states the value `gold` states.

    Raises:
        Unreadable: the answer contradicts itself, or a side exceeds the limits.
    """
    renew_budget()
    try:
        return _Comparison(policy).same(gold, answer)
    except RecursionError:
        raise OverLimit("nested too deeply to compare") from None


@dataclass(frozen=True, slots=True)
class _Comparison:
    policy: MathPolicy

    def same(self, gold: Node, answer: Node) -> bool:
        spend(_PAIRING_COST)
        gold_label, gold = settle(gold)
        answer_label, answer = settle(answer)
        if gold == answer and None in (gold_label, answer_label):
            return True
        by_label = self._same_labelled(gold_label, gold, answer_label, answer)
        if by_label is not None:
            return by_label
        if isinstance(gold, Quantity) or isinstance(answer, Quantity):
            return self._same_quantity(gold, answer)
        for rule in (self._same_region, self._same_list, self._same_structure):
            verdict = rule(gold, answer)
            if verdict is not None:
                return verdict
        return same_scalar(gold, answer, self.policy)

    # -- labels -------------------------------------------------------------------------------

    def _same_labelled(
        self, gold_label: Node | None, gold: Node, answer_label: Node | None, answer: Node
    ) -> bool | None:
        """Labels must agree where both sides have one; `None` leaves it to the values."""
        golds = assignments(gold_label, gold)
        answers = assignments(answer_label, answer)
        if golds and answers:
            return golds.keys() == answers.keys() and all(
                self.same(value, answers[name]) for name, value in golds.items()
            )
        pairs = ((golds, answer_label, answer), (answers, gold_label, gold))
        for named, label, other in pairs:
            is_tuple = isinstance(other, Group) and other.brackets == "()"
            if len(named) > 1 and label is None and isinstance(other, Group) and is_tuple:
                values = tuple(named.values())
                return len(values) == len(other.items) and all(
                    self.same(value, item) for value, item in zip(values, other.items, strict=True)
                )
        if gold_label is not None and answer_label is not None and gold_label != answer_label:
            return False
        return None

    # -- units --------------------------------------------------------------------------------

    def _same_quantity(self, gold: Node, answer: Node) -> bool:
        if isinstance(gold, Quantity) and isinstance(answer, Quantity):
            if gold.unit == answer.unit:
                return self.same(gold.value, answer.value)
            if not self.policy.convert_units:
                return False
            (gold_base, gold_size), (base, size) = conversion(gold.unit), conversion(answer.unit)
            return gold_base == base and self.same(
                Apply("mul", (Number(gold_size), gold.value)),
                Apply("mul", (Number(size), answer.value)),
            )
        bare, quantity = (answer, gold) if isinstance(gold, Quantity) else (gold, answer)
        assert isinstance(quantity, Quantity)
        if is_degrees(bare) and not is_degrees(quantity.value):
            return False
        return self.same(
            gold.value if isinstance(gold, Quantity) else gold,
            answer.value if isinstance(answer, Quantity) else answer,
        )

    # -- sets of reals, lists, tuples -----------------------------------------------------------

    def _same_region(self, gold: Node, answer: Node) -> bool | None:
        if not (_is_region(gold) or _is_region(answer)):
            return None
        try:
            gold_name, gold_region = region_of(gold)
            answer_name, answer_region = region_of(answer)
        except Unreadable as error:
            if isinstance(error, OverLimit):
                raise
            return None
        return gold_region == answer_region and (
            None in (gold_name, answer_name) or gold_name == answer_name
        )

    def _same_list(self, gold: Node, answer: Node) -> bool | None:
        golds, answers = elements(gold), elements(answer)
        if golds is None and answers is None:
            return None
        if self._is_tuple_of_list(gold, answer):
            return self._all_same(gold.items, answer.items)  # type: ignore[union-attr]
        if Constant("...") in (*(golds or ()), *(answers or ())):
            return self._all_same(golds or (gold,), answers or (answer,))
        return self._same_unordered(
            (gold,) if golds is None else golds, (answer,) if answers is None else answers
        )

    def _is_tuple_of_list(self, gold: Node, answer: Node) -> bool:
        if not (isinstance(gold, Group) and isinstance(answer, Group)):
            return False
        return self.policy.list_as_tuple and {gold.brackets, answer.brackets} == {",", "()"}

    def _same_unordered(self, golds: tuple[Node, ...], answers: tuple[Node, ...]) -> bool:
        """Equality is transitive, so matching each item with the first equal one is enough."""
        golds, answers = self._distinct(golds), self._distinct(answers)
        if len(golds) != len(answers):
            return False
        left = list(answers)
        for item in golds:
            match = next((other for other in left if self.same(item, other)), None)
            if match is None:
                return False
            left.remove(match)
        return True

    def _distinct(self, items: tuple[Node, ...]) -> tuple[Node, ...]:
        kept: list[Node] = []
        for item in items:
            if not any(self._interchangeable(item, other) for other in kept):
                kept.append(item)
        return tuple(kept)

    def _interchangeable(self, first: Node, second: Node) -> bool:
        spend(_PAIRING_COST)
        return first == second or plain_same(settle(first)[1], settle(second)[1])

    def _all_same(self, golds: tuple[Node, ...], answers: tuple[Node, ...]) -> bool:
        return len(golds) == len(answers) and all(map(self.same, golds, answers))

    def _same_row(self, golds: tuple[Node, ...], answers: tuple[Node, ...]) -> bool:
        """A factor before a matrix was multiplied into its cells, so those may be products."""
        return len(golds) == len(answers) and all(map(plain_same, golds, answers))

    def _same_structure(self, gold: Node, answer: Node) -> bool | None:
        match gold, answer:
            case Group(left, golds), Group(right, answers):
                return left == right and self._all_same(golds, answers)
            case Matrix(golds), Matrix(answers):
                return len(golds) == len(answers) and all(map(self._same_row, golds, answers))
            case (Group("()", items), Matrix(rows)) | (Matrix(rows), Group("()", items)):
                vector = tuple(row[0] for row in rows) if len(rows[0]) == 1 else rows[0]
                one_line = len(rows[0]) == 1 or len(rows) == 1
                return self.policy.list_as_tuple and one_line and self._all_same(items, vector)
            case Relation(), Relation():
                return same_relation(gold, answer)
            case Relation((left, right), ("=",)), _ if self.policy.right_side:
                return (
                    _is_label(left)
                    and not isinstance(answer, Group | Matrix | Text)
                    and plain_same(right, answer)
                )
            case Text(words), Text(others):
                return words == others
            case (Text(words), Symbol(name)) | (Symbol(name), Text(words)):
                return words == name.casefold()
            case Based(), Based():
                return gold == answer
            case Based(digits, _), Number(value):
                return self.policy.base_optional and value == Fraction(int(digits))
        structured = (Group, Matrix, Relation, Text, Based)
        return False if isinstance(gold, structured) or isinstance(answer, structured) else None


# -- what a node states -----------------------------------------------------------------------


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
    if not set(node.signs) <= _EQUALITIES:
        return None, node
    terms = _before_rounding(node)
    if len(terms) == 2 and isinstance(terms[1], Symbol) and not variables(terms[0]):
        terms = terms[::-1]
    label = terms[0] if len(terms) > 1 and _is_label(terms[0]) else None
    values = terms[1:] if label else terms
    for value, last in pairwise(values):
        if not plain_same(value, last):
            if variables(value) | variables(last) and len(terms) == 2:
                return None, Relation(terms, ("=",))
            raise Contradiction("a chain of equalities that does not hold")
    value = values[-1]
    if label and variables(value):
        return None, Relation((label, value), ("=",))
    return label, value


def _before_rounding(node: Relation) -> tuple[Node, ...]:
    """The exact part of "x = pi ~ 3.14"; in "x ~ 3.14" the rounded value is all there is."""
    if "~" not in node.signs:
        return node.terms
    exact_part = node.terms[: node.signs.index("~") + 1]
    bare_label = len(exact_part) == 1 and _is_label(exact_part[0])
    return node.terms if bare_label else exact_part


def _is_label(node: Node) -> bool:
    match node:
        case Symbol() | Text():
            return True
        case Apply(name, args):
            return name.startswith("call:") and all(isinstance(arg, Symbol) for arg in args)
        case Group("()", items):
            return all(isinstance(item, Symbol) for item in items)
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
        case None, Group(brackets, items) if brackets in _BARE:
            settled = [settle(item) for item in items]
            named = {name.name: item for name, item in settled if isinstance(name, Symbol)}
            return named if len(named) == len(items) else {}
    return {}


def elements(node: Node) -> tuple[Node, ...] | None:
    """The members of a list or set, with each plus-minus written out; `None` if it is neither."""
    match node:
        case Constant("empty"):
            return ()
        case Group(brackets, items) if brackets in (*_BARE, "{}"):
            return tuple(part for item in items for part in _unfolded(item))
    unfolded = _unfolded(node)
    return unfolded if len(unfolded) > 1 else None


def _unfolded(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Relation):
        label, value = settle(node)
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


def _is_region(node: Node) -> bool:
    match node:
        case Constant("R"):
            return True
        case Group("[)" | "(]", _):
            return True
        case Group(brackets, items) if brackets in _BARE:
            return any(_is_region(item) for item in items)
        case Apply("union" | "intersect" | "minus", _):
            return True
        case Relation(_, signs):
            return not set(signs) <= _EQUALITIES
    return False


def same_relation(gold: Relation, answer: Relation) -> bool:
    """Equations and inequalities that are equal up to a constant factor, or chain by chain."""
    if len(gold.signs) != len(answer.signs):
        return False
    flipped = tuple(_FLIPPED.get(sign, sign) for sign in answer.signs)
    if gold.signs == answer.signs and all(map(plain_same, gold.terms, answer.terms)):
        return True
    if gold.signs == flipped[::-1] and all(map(plain_same, gold.terms, answer.terms[::-1])):
        return True
    if len(gold.signs) > 1:
        return False
    try:
        factor = same_zeros(_difference(gold), _difference(answer))
    except (Unreadable, Undefined):
        return False
    if factor is None:
        return False
    return gold.signs == (answer.signs if factor > 0 else flipped)


def _difference(relation: Relation) -> Node:
    return Apply("add", (relation.terms[0], negated(relation.terms[1])))
