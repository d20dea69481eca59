"""What a law found, and how examples are made small and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

SHOWN_TOKENS = 12
"""Tokens of an example, at most."""

SHOWN_LETTERS = 160


class LawVerdict(StrEnum):
    """How a law came out."""

    HOLDS = "holds"
    BROKEN = "does not hold"
    ABSENT = "does not apply"
    REFUSED = "refused"
    """Runs that need it end at their start, with the line that is shown."""
    UNKNOWN = "could not be checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a law found.

    Attributes:
        evidence: what was seen; of a law that does not hold the smallest example.
        advice: what to do; empty if there is nothing to do or `evidence` says it.
    """

    verdict: LawVerdict
    evidence: str
    advice: str = ""


def holds(evidence: str) -> Finding:
    """Nothing to do."""
    return Finding(LawVerdict.HOLDS, evidence)


def broken(evidence: str, advice: str) -> Finding:
    """Something would be silently wrong."""
    return Finding(LawVerdict.BROKEN, evidence, advice)


def absent(evidence: str) -> Finding:
    """The model has nothing that the law is about."""
    return Finding(LawVerdict.ABSENT, evidence)


def refused(evidence: str, advice: str = "") -> Finding:
    """Whoever needs it is told so at once."""
    return Finding(LawVerdict.REFUSED, evidence, advice)


def unknown(evidence: str, advice: str) -> Finding:
    """The law could not look."""
    return Finding(LawVerdict.UNKNOWN, evidence, advice)


def smallest(text: str, breaks: Callable[[str], bool]) -> str:
    """A piece of `text` that breaks, too, and of which no part more can be left out."""
    size = max(1, len(text) // 2)
    while True:
        at, found = 0, False
        while at < len(text):
            without = text[:at] + text[at + size :]
            if without and breaks(without):
                text, found = without, True
            else:
                at += size
        if size == 1 and not found:
            return text
        size = max(1, size // 2) if not found else size


def quoted(text: str) -> str:
    """Text in quotes, blanks visible and nothing in it that a terminal would obey."""
    shown = repr(text)
    return shown if len(shown) <= SHOWN_LETTERS else f"{shown[:SHOWN_LETTERS]}…"


def tokens(tokenizer: Any, ids: Sequence[int]) -> str:
    """Token ids by their names.

    >>> tokens(tokenizer, [70, 226])  # doctest: +SKIP
    "'a' 'Ġ'"
    """
    names = [quoted(str(tokenizer.convert_ids_to_tokens(int(id)))) for id in ids[:SHOWN_TOKENS]]
    more = f" … ({len(ids)} in all)" if len(ids) > SHOWN_TOKENS else ""
    return f"{' '.join(names)}{more}" if names else "no token"


def listed(names: Iterable[str], most: int = 4) -> str:
    """The first few of some names, and how many there are."""
    every = list(names)
    more = f" … ({len(every)} in all)" if len(every) > most else ""
    return f"{', '.join(map(quoted, every[:most]))}{more}"


def plain(text: str) -> str:
    """Text without anything that a terminal would obey: names of tokens are hostile, too."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
