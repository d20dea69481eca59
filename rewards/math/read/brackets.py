"""Everything between a bracket and its partner.

    group    := "(" entries ")" | "[" entries "]" | "\\{" entries ["|" entries] "\\}" | "<" ...
    braces   := "{" sum "}" | "{" sum "choose" sum "}" | "{" sum "," entries "}"
    absolute := "|" sum "|"
    matrix   := "\\begin{pmatrix}" sum ("&" sum)* ("\\\\" ...)* "\\end{pmatrix}"

Rules that hold expressions are given the one for a sum, which stands above them.
"""

from __future__ import annotations

from rewards.math.limits import MAX_ITEMS, OverLimit, Unreadable
from rewards.math.nodes import Apply, Constant, Group, Matrix, Node
from rewards.math.read.arithmetic import scalar
from rewards.math.read.cursor import Cursor, Rule
from rewards.math.vocabulary.words import word_set

_PARTNERS = {"(": ")", "[": "]", "\\{": "\\}", "<": ">", "floor": "floor", "ceil": "ceil"}
_MATRICES = word_set("matrix pmatrix bmatrix Bmatrix smallmatrix array")


def braces(cursor: Cursor, total: Rule) -> Node:
    """The braces of LaTeX, which say where an expression ends; with a comma in them, a set."""
    cursor.expect("open", "{")
    node = cursor.nested(total)
    if infix := cursor.take("infix"):
        name = "binom" if infix.text == "choose" else "div"
        node = Apply(name, (scalar(node), scalar(cursor.nested(total))))
    if cursor.take("sep", ",", ";"):  # plain text writes sets without backslashes
        node = Group("{}", (node, *_items(cursor)))
    cursor.expect("close", "}")
    return node


def bracketed(cursor: Cursor) -> Node:
    """An expression, a tuple, an interval, a set or a rounded value, with its brackets."""
    opening = cursor.next().text
    # In a set "|" means "such that".
    bars, cursor.bars = cursor.bars, int(opening == "\\{")
    items = _items(cursor)
    if opening == "\\{" and len(items) == 1 and cursor.take("op", "|", ":"):
        items = _items(cursor)
        opening = "such that"
    cursor.bars = bars
    closing = cursor.token.text
    if not cursor.take("close"):
        raise Unreadable(f"{opening!r} is never closed")
    if opening == "such that" and closing == "\\}" and items:
        return items[0] if len(items) == 1 else Group("and", items)
    if opening in ("(", "[") and closing in (")", "]"):
        return _round_or_square(opening + closing, items)
    if _PARTNERS.get(opening) != closing:
        raise Unreadable(f"{opening!r} closed by {closing!r}")
    return _of_one_kind(opening, items)


def _round_or_square(brackets: str, items: tuple[Node, ...]) -> Node:
    """What stands between brackets that intervals mix."""
    if brackets == "[]" and (rows := _rows(items)):
        return Matrix(rows)
    if len(items) == 1 and brackets in ("()", "[]"):
        return items[0]
    if len(items) == 1:
        raise Unreadable("an interval must have two ends")
    return Group(brackets, items)


def _of_one_kind(opening: str, items: tuple[Node, ...]) -> Node:
    """What stands between brackets that only their own partner closes."""
    if opening in ("floor", "ceil"):
        if len(items) != 1:
            raise Unreadable("a rounding bracket must hold one value")
        return Apply(opening, (scalar(items[0]),))
    if opening == "<":
        return items[0] if len(items) == 1 else Group("()", items)
    return Group("{}", items) if items else Constant("empty")


def _items(cursor: Cursor) -> tuple[Node, ...]:
    """Entries up to the closing bracket, separated by commas or semicolons."""
    if cursor.at("close"):
        return ()
    items = [cursor.nested(cursor.entry)]
    while cursor.take("sep", ",", ";"):
        items.append(cursor.nested(cursor.entry))
        if len(items) > MAX_ITEMS:
            raise OverLimit(f"more than {MAX_ITEMS} items")
    return tuple(items)


def _rows(items: tuple[Node, ...]) -> tuple[tuple[Node, ...], ...] | None:
    """The rows of a matrix written as lists, [[1, 2], [3, 4]]."""
    rows = tuple(item.items for item in items if isinstance(item, Group) and item.brackets == "[]")
    even = len(rows) == len(items) > 0 and len({len(row) for row in rows}) == 1
    return rows if even else None


def absolute(cursor: Cursor, total: Rule) -> Node:
    """What follows an opening bar, with the closing one."""
    cursor.bars += 1
    inner = cursor.nested(total)
    cursor.bars -= 1
    cursor.expect("op", "|")
    return Apply("abs", (scalar(inner),))


def matrix(cursor: Cursor, environment: str, total: Rule) -> Node:
    """What follows the beginning of an environment, with its end."""
    if environment not in _MATRICES:
        raise Unreadable(f"environment {environment!r} is not one of an answer")
    rows: list[tuple[Node, ...]] = []
    cells: list[Node] = []
    while not cursor.at("end"):
        cells.append(scalar(cursor.nested(total)))
        if cursor.take("cell"):
            continue
        rows.append(tuple(cells))
        cells = []
        if not cursor.take("row"):
            break
    if not cursor.take("end", environment) or cells:
        raise Unreadable("a matrix must be closed, with a value in each cell")
    if not rows or len({len(row) for row in rows}) != 1:
        raise Unreadable("the rows of a matrix must have the same length")
    return Matrix(tuple(rows))
