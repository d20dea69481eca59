"""A text without its layout, for the gold answers no grammar of ours reads."""

from __future__ import annotations

import re

from rewards.math.limits import Unreadable
from rewards.math.read.normalise import normalise, unwrapped

_LAYOUT = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|quad|qquad|[bB]igg?[lr]?|limits)(?![A-Za-z])"
    r"|\\[,;:! ()\[\]]|\\(?:text|mathrm|textbf|textit|mathbf|textrm|rm)(?![A-Za-z])|[\s$~]"
)
_SPELLINGS = {"\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\rightarrow": "\\to"}
_SINGLE = re.compile(r"\{(\w|\\[A-Za-z]+)\}")


def layout_key(text: str) -> str:
    """The signs that carry meaning, run together; "" if the brackets do not balance.

    >>> layout_key(r"\\mathrm{A} \\to \\text{B}") == layout_key(r"A\\rightarrow{B}")
    True
    """
    try:
        plain = normalise(unwrapped(text))
    except Unreadable:
        return ""
    plain = _LAYOUT.sub("", plain).rstrip(".")
    for spelling, plainest in _SPELLINGS.items():
        plain = plain.replace(spelling, plainest)
    return _SINGLE.sub(r"\1", plain) if _balances(plain) else ""


def _balances(text: str) -> bool:
    """Every kind of bracket for itself: half-open intervals close "(" with "]"."""
    depth = {"(": 0, "{": 0}
    for char in text:
        if char in "([{":
            depth["{" if char == "{" else "("] += 1
        elif char in ")]}":
            kind = "{" if char == "}" else "("
            depth[kind] -= 1
            if depth[kind] < 0:
                return False
    return not any(depth.values())
