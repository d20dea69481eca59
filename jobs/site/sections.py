"""READMEs as sections, which pages take in by a link that stands alone on its line."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

FENCED = re.compile(r"^(```.*?^```$)", flags=re.S | re.M)
HEADING = re.compile(r"^(#+) (.+)$", flags=re.M)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(((?!https?:|mailto:)[^)\s]+)\)")
TAKEN_IN = re.compile(r"^\[[^\]\n]*\]\(([^)\s]*\.md)(?:#([^)\s]*))?\)$", flags=re.M)


@dataclass(frozen=True, slots=True)
class Passage:
    """A heading of the first or second level and all that stands below it.

    Attributes:
        file: from the root of the repository, with slashes.
        anchor: of its heading.
        text: the heading with it.
    """

    file: str
    anchor: str
    text: str


def anchor_of(heading: str) -> str:
    """The name that GitHub gives to a heading.

    >>> anchor_of("Cluster, mix, `serve`")
    'cluster-mix-serve'
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def outside_code(text: str) -> Iterator[tuple[str, bool]]:
    """The parts of a text in order, and whether each is outside of fences."""
    for number, part in enumerate(FENCED.split(text)):
        yield part, number % 2 == 0


def headings(text: str) -> list[str]:
    """Anchors of all headings."""
    parts = [part for part, is_text in outside_code(text) if is_text]
    return [anchor_of(found[2]) for part in parts for found in HEADING.finditer(part)]


def sections_of(file: str, text: str) -> list[Passage]:
    """The sections of a README, in order; the first is its title with what follows it."""
    found: list[list[str]] = []
    for part, is_text in outside_code(text):
        pieces = re.split(r"^(?=##? )", part, flags=re.M) if is_text else [part]
        for piece in filter(None, pieces):
            if is_text and re.match("##? ", piece):
                found.append([piece])
            else:
                found[-1].append(piece)
    texts = ["".join(pieces).rstrip() + "\n" for pieces in found]
    return [Passage(file, headings(own)[0], own) for own in texts]


def target_of(file: str, link: str) -> tuple[str, str]:
    """The file that a link in `file` leads to, from the root, and the anchor in it."""
    path, _, anchor = link.partition("#")
    if not path:
        return file, anchor
    return posixpath.normpath(posixpath.join(posixpath.dirname(file), path)), anchor


def taken_in(file: str, text: str) -> Iterator[tuple[str, str]]:
    """File and anchor of what a page takes in; no anchor is the whole file."""
    for found in TAKEN_IN.finditer(text):
        yield target_of(file, found[1] + (f"#{found[2]}" if found[2] else ""))


def relinked(file: str, text: str, place: Callable[[str, str], str]) -> str:
    """A text of `file` with its links as `place` has them, by target and anchor."""

    def instead(found: re.Match[str]) -> str:
        is_picture, shown, link = found.groups()
        return f"{is_picture}[{shown}]({place(*target_of(file, link))})"

    parts = outside_code(text)
    return "".join(LINK.sub(instead, part) if is_text else part for part, is_text in parts)
