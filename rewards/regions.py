r"""Where in a completion its final answer may stand: after the thinking, in `<answer>`, in a box.

All scans are single passes over the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARS = 1_000_000
"""Completions are cut to their last million characters before they are searched."""

_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,4}\{")


@dataclass(frozen=True, slots=True)
class Box:
    r"""A balanced `\boxed{...}`: its content and the span of the whole."""

    content: str
    start: int
    end: int


def answer_region(text: str) -> str | None:
    """Return the part of `text` that may state the answer, `None` if it is still thinking.

    What follows the last `</think>` outranks the thinking; the last complete `<answer>` in it
    outranks the rest.
    """
    text = text[-MAX_CHARS:]
    _, closed, rest = text.rpartition("</think>")
    if not closed and "<think>" in text:
        return None
    head, closed, _ = rest.rpartition("</answer>")
    if closed and "<answer>" in head:
        return head.rpartition("<answer>")[2]
    return rest


def boxes(text: str) -> list[Box]:
    r"""Return every balanced, outermost `\boxed{...}` in order of appearance."""
    found: list[Box] = []
    position = 0
    while (match := _BOX.search(text, position)) is not None:
        end = _closing(text, match.end())
        if end is None:
            break
        found.append(Box(text[match.end() : end], match.start(), end + 1))
        position = end + 1
    return found


def _closing(text: str, start: int) -> int | None:
    """Return the index of the brace that closes the one opened just before `start`."""
    depth = 1
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.start()
    return None
