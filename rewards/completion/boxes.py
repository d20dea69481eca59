"""Finds `\\boxed{...}` and `\\fbox{...}` in one linear pass, whatever the nesting."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s{0,3}|\\.|[{}]", re.DOTALL)
_UNBRACED = re.compile(r"[0-9A-Za-z]{1,20}(?=[\s$.,]|\\[)\]]|$)")
_MAX_GAP = 80
_HEDGES = (
    "and or either maybe perhaps possibly also alternatively it is be could might may else but "
    "even then another answer the"
)
_JOINER = re.compile(
    r"(?:[\s,;.:&$*|/\-•{}()]|\\[()\[\],;:! ]|\\(?:q?quad|text|mbox|lor|vee)(?![A-Za-z])"
    rf"|\b(?:{'|'.join(_HEDGES.split())})\b|\b[A-Za-z](?:_[0-9])?\s?=)*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Span:
    """A candidate for the final answer: `text` is its value, `start:end` all it covers."""

    start: int
    end: int
    text: str
    comma_decimal: bool = False
    """Stated in a language whose decimal sign is the comma."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Outermost closed boxes in order, and whether the last box opened is one of them."""

    spans: list[Span]
    last_is_closed: bool


def find_boxes(text: str) -> Boxes:
    """All outermost closed boxes of `text`."""
    stack: list[tuple[int, int] | None] = []  # (start of box, start of its content); None: "{"
    closed: list[Span] = []
    last_open = -1
    position = 0
    while match := _MARK.search(text, position):
        position = match.end()
        sign = match.group()
        if sign == "{":
            stack.append(None)
        elif sign == "}" and stack:
            if box := stack.pop():
                closed.append(Span(box[0], position, text[box[1] : position - 1]))
        elif sign.startswith(("\\boxed", "\\fbox")):
            last_open = match.start()
            if text.startswith("{", position):
                position += 1
                stack.append((match.start(), position))
            elif bare := _UNBRACED.match(text, position):
                closed.append(Span(match.start(), bare.end(), bare.group()))
    outermost = _outermost(closed)
    covered = bool(outermost) and outermost[-1].start <= last_open < outermost[-1].end
    return Boxes(outermost, covered)


def _outermost(closed: list[Span]) -> list[Span]:
    """Spans close inside out: walking backwards, the first one seen contains the rest."""
    kept: list[Span] = []
    for span in reversed(closed):
        if not kept or span.end <= kept[-1].start:
            kept.append(span)
    return kept[::-1]


def final_run(text: str, spans: list[Span]) -> list[Span]:
    """The last span, with those before it that are joined to it by "and", "or", a comma or
    nothing at all: together they are one list of answers, not one answer after another."""
    run = [spans[-1]]
    for span in reversed(spans[:-1]):
        gap = text[span.end : run[0].start]
        if len(gap) > _MAX_GAP or not _JOINER.fullmatch(gap):
            break
        run.insert(0, span)
    return run
