"""What may stand behind a value and not change it: "7 (not 8)", "7 rather than 8", "7 (seven)"."""

from __future__ import annotations

from rewards.math.limits import Unreadable
from rewards.math.nodes import Apply, Constant, Group, Matrix, Node, Number, Relation, Text
from rewards.math.read.cursor import Cursor

_NO_VALUE = (Group, Text, Matrix)
_DENIALS = (["not"], ["but", "not"], ["rather", "than"], ["instead", "of"])


def denial(cursor: Cursor) -> int:
    """How many words here say that what follows is not the answer; 0 if they say anything else."""
    words = cursor.words(2)
    found = [len(denial) for denial in _DENIALS if words[: len(denial)] == denial]
    return max(found, default=0)


def passed_over(cursor: Cursor, stated: Node) -> bool:
    """Take a denial, or in brackets the value again, and tell whether there was one.

    Of a set or an inequality "not 4" is no denial but an exception, which is part of the answer.
    """
    start = cursor.position
    bracket = cursor.take("open", "(")
    if not bracket:
        cursor.take("sep", ",")
    cursor.take("join", "and", *(["or"] if bracket else []))
    words = denial(cursor)
    if (words or bracket) and _is_value(stated):
        cursor.position += words
        other = _other(cursor)
        closed = not bracket or cursor.take("close", ")")
        if other and closed and _is_value(other) and _is_same(other, stated) != bool(words):
            return True
    cursor.position = start
    return False


def _other(cursor: Cursor) -> Node | None:
    try:
        return cursor.entry(cursor)
    except Unreadable:
        return None  # it is read again as words, which says what is wrong with it


def _is_same(one: Node, other: Node) -> bool:
    if isinstance(one, Number) and isinstance(other, Number):
        return one.value == other.value
    return one == other


def _is_value(node: Node) -> bool:
    match node:
        case Relation(_, signs):
            return signs in (("=",), ("at",))
        case Constant("R" | "Z" | "N" | "Q" | "C" | "empty"):
            return False
        case Apply("union" | "intersect" | "minus", _):
            return False
    return not isinstance(node, _NO_VALUE)
