"""Whether an answer is the gold answer: structure first, then scalars.

Sets are unordered and tuples ordered, brackets matter, a finite list must be complete, units
agree where both sides have one, and an unsolved or contradictory answer is no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rewards.math.compare.colons import same_ratio, same_time
from rewards.math.compare.numeric import same_zeros
from rewards.math.compare.regions import region_of
from rewards.math.compare.residues import is_residue
from rewards.math.compare.scalars import is_degrees, lone_remainder, plain_same, same_scalar
from rewards.math.compare.statements import (
    BARE,
    EQUALITIES,
    are_unknowns,
    as_choices,
    assignments,
    elements,
    in_order,
    is_curve,
    is_label,
    is_sum_of_parts,
    named_value,
    same_label,
    settle,
    spelled,
    total_of,
)
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
    children,
    negated,
)
from rewards.math.policy import MathPolicy
from rewards.math.vocabulary.units import conversion

_PAIRING_COST = 20
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


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
        gold, answer = as_choices(gold, answer), as_choices(answer, gold)
        gold_label, gold = settle(gold)
        answer_label, answer = settle(answer)
        if gold_label is None and not is_residue(answer):
            gold = lone_remainder(gold)  # "x ≡ 3 mod 5" names a class, of which 3 is one
        if gold == answer and None in (gold_label, answer_label):
            return True
        by_label = self._same_labelled(gold_label, gold, answer_label, answer)
        if by_label is not None:
            return by_label
        by_colons = same_time(gold, answer)
        if by_colons is None:
            by_colons = same_ratio(gold, answer, self.policy)
        if by_colons is not None:
            return by_colons
        if isinstance(gold, Quantity) or isinstance(answer, Quantity):
            return self._same_quantity(gold, answer)
        if is_sum_of_parts(gold) or is_sum_of_parts(answer):
            return self._same_parts(gold, answer)
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
        for named, label, other in ((golds, answer_label, answer), (answers, gold_label, gold)):
            if len(named) > 1 and label is None:
                verdict = self._same_unknowns(named, other, is_gold=named is golds)
                if verdict is not None:
                    return verdict
        if (
            gold_label is not None
            and answer_label is not None
            and not same_label(gold_label, answer_label)
        ):
            return False
        return None

    def _same_unknowns(self, named: dict[str, Node], other: Node, *, is_gold: bool) -> bool | None:
        """Values of several unknowns, "x=2, y=3", against values alone, in the names' order.

        A set says not which is which; a list does for a named answer, and for gold in lenient.
        """
        values = in_order(named)
        if isinstance(other, Group) and other.brackets == "()":
            return self._all_same(values, other.items)
        if not are_unknowns(named) or isinstance(other, (Matrix, Relation)):
            return None
        if not (isinstance(other, Group) and _is_plain_list(other)):
            return False
        return (self.policy.list_as_tuple or not is_gold) and self._all_same(values, other.items)

    # -- units --------------------------------------------------------------------------------

    def _same_parts(self, gold: Node, answer: Node) -> bool:
        """Part by part; the whole in one unit only where units may be converted."""
        if is_sum_of_parts(gold) and is_sum_of_parts(answer):
            golds, answers = children(gold), children(answer)
            if len(golds) == len(answers) and all(map(self.same, golds, answers)):
                return True
        if not self.policy.convert_units:
            return False
        gold_total, total = total_of(gold), total_of(answer)
        if gold_total is None or total is None:
            return False
        return gold_total[0] == total[0] and plain_same(gold_total[1], total[1])

    def _same_quantity(self, gold: Node, answer: Node) -> bool:
        if is_sum_of_parts(gold) or is_sum_of_parts(answer):
            return self._same_parts(gold, answer)
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
        golds = (gold,) if golds is None else golds
        answers = (answer,) if answers is None else answers
        if _is_plain_list(gold) and _repeats(golds):
            return self._same_items(golds, answers)
        if len(golds) == 1 and _is_plain_list(answer) and _repeats(answers):
            return False  # "1, 1, 1" is no way to write 1; of several roots one may stand twice
        return self._same_unordered(golds, answers)

    def _is_tuple_of_list(self, gold: Node, answer: Node) -> bool:
        if not (isinstance(gold, Group) and isinstance(answer, Group)):
            return False
        return self.policy.list_as_tuple and {gold.brackets, answer.brackets} == {",", "()"}

    def _same_unordered(self, golds: tuple[Node, ...], answers: tuple[Node, ...]) -> bool:
        return self._same_items(self._distinct(golds), self._distinct(answers))

    def _same_items(self, golds: tuple[Node, ...], answers: tuple[Node, ...]) -> bool:
        """Equality is transitive, so matching each item with the first equal one is enough."""
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

    def _same_named(self, gold: Node, answer: Node) -> bool:
        """A named expression against the bare one: A = pi r^2 and pi r^2."""
        named, bare = (gold, answer) if isinstance(gold, Relation) else (answer, gold)
        assert isinstance(named, Relation)
        if isinstance(bare, Text) or elements(bare) is not None:
            return False
        if named is gold and is_curve(named) and not self.policy.right_side:
            return False
        value = named_value(named, any_expression=self.policy.right_side)
        if value is None or (named is gold and not is_label(named.terms[0])):
            return False
        return self.same(value, bare) if named is gold else self.same(bare, value)

    def _all_same(self, golds: tuple[Node, ...], answers: tuple[Node, ...]) -> bool:
        return len(golds) == len(answers) and all(map(self.same, golds, answers))

    def _same_row(self, golds: tuple[Node, ...], answers: tuple[Node, ...]) -> bool:
        """A factor before a matrix was multiplied into its cells, so those may be products."""
        return len(golds) == len(answers) and all(map(plain_same, golds, answers))

    def _same_structure(self, gold: Node, answer: Node) -> bool | None:
        match gold, answer:
            case Group("cases", golds), Group("cases", answers):
                return self._same_unordered(golds, answers)
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
            case (Relation(_, ("=",)), _) | (_, Relation(_, ("=",))):
                return self._same_named(gold, answer)
            case Text(words), Text(others):
                return words == others
            case (Text(words), Symbol(name)) | (Symbol(name), Text(words)):
                return words == name.casefold()
            case (Text(words), Apply("letters", letters)) | (
                Apply("letters", letters),
                Text(words),
            ):
                return words == spelled(letters)
            case Based(), Based():
                return gold == answer
            case Based(digits, _), Number(value) if digits.isdigit():
                return self.policy.base_optional and value == Fraction(int(digits))
        structured = (Group, Matrix, Relation, Text, Based)
        return False if isinstance(gold, structured) or isinstance(answer, structured) else None


def _is_plain_list(node: Node) -> bool:
    return isinstance(node, Group) and node.brackets in (",", "and")


def _repeats(items: tuple[Node, ...]) -> bool:
    """Whether an item is written twice; 1/2 and 0.5 are two forms of one."""
    return len(set(items)) < len(items)


def _is_region(node: Node) -> bool:
    match node:
        case Constant("R"):
            return True
        case Group("[)" | "(]", _):
            return True
        case Group(brackets, items) if brackets in BARE:
            return any(_is_region(item) for item in items)
        case Apply("union" | "intersect" | "minus", _):
            return True
        case Relation(_, signs):
            return not set(signs) <= EQUALITIES
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
    if len(gold.signs) > 1 or gold.signs[0] not in _FLIPPED:
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
