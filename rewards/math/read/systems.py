"""Answers in several rows: aligned equations, systems behind a brace, functions by cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from rewards.math.limits import MAX_ITEMS, OverLimit, Unreadable
from rewards.math.nodes import Group, Node
from rewards.math.read.cursor import Cursor
from rewards.math.read.tokens import Token
from rewards.math.vocabulary.words import word_set

_ENVIRONMENTS = word_set(
    "aligned align alignat alignedat gathered gather split cases dcases rcases eqnarray equation"
)
_BEHIND_A_BRACE = _ENVIRONMENTS | word_set("array matrix")
_CONDITION_WORDS = word_set("if when for where")

Row = list[list[Token]]
Read = Callable[[Sequence[Token]], Node]
ReadRow = Callable[[Cursor, Sequence[Token]], Node]


def system(cursor: Cursor, read_row: ReadRow) -> Node | None:
    """Take an environment of rows, `None` where none stands.

    Args:
        read_row: reads the tokens of one row, or one cell, as an answer within this one.

    Raises:
        Unreadable: the environment is never closed, or a row cannot be read.
    """
    braced = cursor.at("open", "\\{") and cursor.ahead().kind == "begin"
    known = _BEHIND_A_BRACE if braced else _ENVIRONMENTS
    begin = cursor.ahead() if braced else cursor.token
    if begin.kind != "begin" or not (begin.text in known or _holds_relations(cursor)):
        return None
    cursor.position += 2 if braced else 1
    rows, read = _rows(cursor), partial(read_row, cursor)
    if braced:
        cursor.take("close", "\\}")
    by_cases = braced or begin.text.endswith("cases")
    pieces = [_piece(row, read) if by_cases else None for row in rows]
    if pieces and all(pieces):
        return Group("cases", tuple(piece for piece in pieces if piece))
    entries = tuple(read(line) for line in _lines(rows))
    if not entries:
        raise Unreadable("an environment without rows")
    return entries[0] if len(entries) == 1 else Group("and", entries)


def _holds_relations(cursor: Cursor) -> bool:
    """Whether an array without a brace holds equations, and so is no matrix."""
    if not cursor.at("begin", "array"):
        return False
    inside = cursor.tokens[cursor.position + 1 :]
    end = next((i for i, token in enumerate(inside) if token.kind == "end"), 0)
    return any(token.kind == "rel" for token in inside[:end])


def _rows(cursor: Cursor) -> list[Row]:
    rows: list[Row] = [[[]]]
    depth = 1
    while depth:
        token = cursor.token
        if cursor.position >= len(cursor.tokens):
            raise Unreadable("an environment that is never closed")
        cursor.position += 1
        depth += (token.kind == "begin") - (token.kind == "end")
        if depth == 1 and token.kind == "row":
            rows.append([[]])
        elif depth == 1 and token.kind == "cell":
            rows[-1].append([])
        elif depth:
            rows[-1][-1].append(token)
        if len(rows) > MAX_ITEMS:
            raise OverLimit(f"more than {MAX_ITEMS} rows")
    return [row for row in rows if any(row)]


def _piece(row: Row, read: Read) -> Node | None:
    """The value and the condition of one case: "x^2 & x > 0"."""
    cells = [_plain(cell) for cell in row]
    if len(cells) != 2 or not all(cells) or any(token.kind == "rel" for token in cells[0]):
        return None
    value, condition = cells
    if condition[0].kind == "rel":  # "x & = 1" is aligned, and no case
        return None
    if condition[0].kind == "word" and condition[0].text.casefold() in _CONDITION_WORDS:
        condition = condition[1:]
    return Group("piece", (read(value), read(condition)))


def _lines(rows: list[Row]) -> list[list[Token]]:
    """The rows without their columns; one that begins with "=" goes on with the row before."""
    lines: list[list[Token]] = []
    for row in rows:
        line = _plain([token for cell in row for token in cell])
        if line and line[0].kind == "rel" and lines:
            lines[-1] += line
        elif line:
            lines.append(line)
    return lines


def _plain(cell: list[Token]) -> list[Token]:
    """A cell without the comma or full stop at its end."""
    end = len(cell)
    while end and cell[end - 1].text in (",", ";", ".") and cell[end - 1].kind in ("sep", "op"):
        end -= 1
    return cell[:end]
