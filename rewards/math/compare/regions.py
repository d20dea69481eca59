"""Sets of real numbers: intervals, unions, differences, solved inequalities.

A region is its sorted breakpoints and, for each gap and each breakpoint in turn, whether it
belongs. Every set operation is then one walk along two such lists.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from rewards.math.compare.exact import exact
from rewards.math.compare.numeric import real_value
from rewards.math.limits import OverLimit, Undefined, Unreadable
from rewards.math.nodes import Apply, Constant, Group, Node, Relation, Symbol, negated, variables

_SNAP = 10**30  # irrational ends are compared to 30 decimals
_MAX_BREAKPOINTS = 64
_INTERVALS = ("()", "[]", "(]", "[)")
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "="}


@dataclass(frozen=True, slots=True)
class Region:
    """`inside` alternates gap, breakpoint, gap, ...: it is one longer than twice `points`."""

    points: tuple[Fraction, ...]
    inside: tuple[bool, ...]


EMPTY = Region((), (False,))
REALS = Region((), (True,))


def region_of(node: Node) -> tuple[str | None, Region]:
    """The set of reals a node describes, with the name of its variable if one is written.

    Raises:
        Unreadable: the node describes no such set.
    """
    match node:
        case Constant("R"):
            return None, REALS
        case Constant("empty"):
            return None, EMPTY
        case Group(brackets, items) if brackets in _INTERVALS and len(items) == 2:
            return None, _interval(items[0], items[1], brackets[0] == "[", brackets[1] == "]")
        case Group("{}", items):
            return None, _joined([(None, _point(item)) for item in items], _either)[1]
        case Apply("union" | "intersect" | "minus" as name, args):
            operation = {"union": _either, "intersect": _both, "minus": _without}[name]
            return _joined([region_of(part) for part in args], operation)
        case Group("or", items):
            return _joined([region_of(item) for item in items], _either)
        case Group("and" | ",", items):
            parts = [region_of(item) for item in items]
            both = _joined(parts, _both)
            return both if both[1] != EMPTY or node.brackets == "and" else _joined(parts, _either)
        case Relation(terms, signs):
            pairs = [
                _half_line(left, sign, right)
                for (left, right), sign in zip(pairwise(terms), signs, strict=True)
            ]
            return _joined(pairs, _both)
    raise Unreadable("not a set of real numbers")


def _half_line(left: Node, sign: str, right: Node) -> tuple[str | None, Region]:
    if sign == "in" and isinstance(left, Symbol):
        return left.name, region_of(right)[1]
    if not isinstance(left, Symbol):
        left, right, sign = right, left, _FLIPPED.get(sign, "")
    if not isinstance(left, Symbol) or variables(right):
        raise Unreadable("not solved for one variable")
    infinity = Constant("inf")
    match sign:
        case "<" | "<=":
            region = _interval(negated(infinity), right, False, sign == "<=")
        case ">" | ">=":
            region = _interval(right, infinity, sign == ">=", False)
        case "!=":
            region = _combined(REALS, _point(right), _without)
        case "=":
            region = _point(right)
        case _:
            raise Unreadable("not an inequality")
    return left.name, region


def _interval(low: Node, high: Node, low_closed: bool, high_closed: bool) -> Region:
    if infinite_sign(low) > 0 or infinite_sign(high) < 0:
        raise Unreadable("an interval whose ends are in the wrong order")
    ends = [_end(low), _end(high)]
    if None not in ends and ends[0] > ends[1]:  # type: ignore[operator]
        raise Unreadable("an interval whose ends are in the wrong order")
    from_low = REALS
    if ends[0] is not None:
        from_low = Region((ends[0],), (False, low_closed, True))
    to_high = REALS
    if ends[1] is not None:
        to_high = Region((ends[1],), (True, high_closed, False))
    return _combined(from_low, to_high, _both)


def _point(node: Node) -> Region:
    value = _end(node)
    if value is None:
        raise Unreadable("infinity is no element")
    return Region((value,), (False, True, False))


def _end(node: Node) -> Fraction | None:
    """The value of an end, `None` for an infinite one."""
    if infinite_sign(node):
        return None
    value = exact(node)
    if value is not None:
        return value
    try:
        return Fraction(int(real_value(node) * _SNAP), _SNAP)
    except Undefined as error:
        raise Unreadable(f"the end of an interval has no value: {error}") from None


def infinite_sign(node: Node) -> int:
    """1 and -1 for the infinities, 0 for everything else."""
    match node:
        case Constant("inf"):
            return 1
        case Apply("neg", (inner,)):
            return -infinite_sign(inner)
    return 0


# -- the walk ---------------------------------------------------------------------------------


def _either(first: bool, second: bool) -> bool:
    return first or second


def _both(first: bool, second: bool) -> bool:
    return first and second


def _without(first: bool, second: bool) -> bool:
    return first and not second


def _joined(
    parts: list[tuple[str | None, Region]], operation: Callable[[bool, bool], bool]
) -> tuple[str | None, Region]:
    names = {name for name, _ in parts if name is not None}
    if len(names) > 1:
        raise Unreadable("more than one variable")
    total = parts[0][1]
    for _, region in parts[1:]:
        total = _combined(total, region, operation)
    return (names.pop() if names else None), total


def _combined(first: Region, second: Region, operation: Callable[[bool, bool], bool]) -> Region:
    points = sorted({*first.points, *second.points})
    if len(points) > _MAX_BREAKPOINTS:
        raise OverLimit(f"more than {_MAX_BREAKPOINTS} ends of intervals")
    inside = [
        operation(
            first.inside[_place(first, points, slot)], second.inside[_place(second, points, slot)]
        )
        for slot in range(2 * len(points) + 1)
    ]
    return _canonical(points, inside)


def _place(region: Region, points: list[Fraction], slot: int) -> int:
    """Where slot `slot` of the merged list (gap, point, gap, ...) lies in `region.inside`."""
    if slot % 2:
        point = points[slot // 2]
        index = bisect_left(region.points, point)
        hit = index < len(region.points) and region.points[index] == point
        return 2 * index + 1 if hit else 2 * index
    if slot == 0:
        return 0
    return 2 * bisect_left(region.points, points[slot // 2 - 1] + Fraction(1, 2 * _SNAP))


def _canonical(points: list[Fraction], inside: list[bool]) -> Region:
    """Drop the breakpoints at which nothing changes."""
    kept, flags = [], [inside[0]]
    for index, point in enumerate(points):
        at, after = inside[2 * index + 1], inside[2 * index + 2]
        if not (flags[-1] == at == after):
            kept.append(point)
            flags += [at, after]
    return Region(tuple(kept), tuple(flags))
