"""Examples of docstrings as code: lines that begin with `>>>`, up to the next blank line."""

from __future__ import annotations

import re
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from jobs.site.sections import outside_code

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", flags=re.M)
BEFORE_FENCES = 30
"""Priority: that of the extension which reads fences is 25."""


class FencedExamples(Preprocessor):
    """Puts a fence around each example."""

    def run(self, lines: list[str]) -> list[str]:
        """The lines with fences, and without notes to whoever runs them."""
        parts = outside_code("\n".join(lines))
        fenced = (EXAMPLE.sub(_fenced, part) if is_text else part for part, is_text in parts)
        return "".join(fenced).split("\n")


def _fenced(found: re.Match[str]) -> str:
    example = re.sub(r" +# doctest: .*", "", found[0])
    return f"```pycon\n{example}\n```"


class Doctests(Extension):
    """Examples of docstrings."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Read examples before fences and quotes."""
        md.preprocessors.register(FencedExamples(md), "doctests", BEFORE_FENCES)


def makeExtension(**options: Any) -> Doctests:
    """The extension of this module."""
    return Doctests(**options)
