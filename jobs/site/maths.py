"""Formulae of a page, `$…$` and fences of `math`, as MathML: browsers draw it without a program."""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

INLINE = r"(?<![\\$\w])\$(?![\s$])([^$\n]*[^\s$\\])\$(?![\w$])"


class InlineFormula(InlineProcessor):
    """A formula within a line."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:
        """Put MathML in the place of what stands between dollar signs."""
        return self.md.htmlStash.store(convert(m[1])), m.start(0), m.end(0)


class Formulae(Extension):
    """Formulae within lines; those of fences are `block`."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Read formulae before emphasis, after code."""
        md.inlinePatterns.register(InlineFormula(INLINE, md), "formula", 185)


def makeExtension(**options: Any) -> Formulae:
    """The extension of this module."""
    return Formulae(**options)


def block(source: str, *_: Any, **__: Any) -> str:
    """A fence of `math` as a displayed formula, which scrolls where it is wider than the page."""
    return f'<div class="formula">{convert(source.strip(), display="block")}</div>'
