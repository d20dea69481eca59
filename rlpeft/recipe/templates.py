r"""Text with the columns of a row in it: prompts of `task.options.template`, `sft.completion`.

`{question}` stands for the column of that name, `{info.question}` for what a dict in a column
holds under that key. `{{` and `}}` are the braces themselves, as in
Python's `str.format`, and so is `{}`, which names nothing (`\boxed{}`). Unlike there, no attribute,
index or conversion is followed: rows are data. Whatever else stands in braces is refused, since a
misspelt column would otherwise be a text that every prompt repeats.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from rlpeft.errors import ConfigError, DataError
from rlpeft.recipe.columns import has_column, value_at

TOKEN = re.compile(r"\{\{|\}\}|\{\}|\{([^{}]+)\}|[{}]|[^{}]+")
NAME = re.compile(r"[^\W\d][\w \-]*(?:\.[^\W\d][\w \-]*)*")
"""A column: letters, digits, `_`, `-` and blanks, a letter or `_` first; dots read into dicts."""

HINT = "A literal brace is written twice: {{ and }}"


@dataclass(frozen=True, slots=True)
class Template:
    """A text in pieces.

    >>> Template.parse("{question} Answer in \\boxed{{}}.", "t").fill({"question": "1+1?"}, "t")
    '1+1? Answer in \\boxed{}.'

    Attributes:
        pieces: literal text, or the name of a column; and which of the two it is.
    """

    pieces: tuple[tuple[str, bool], ...]

    @classmethod
    def parse(cls, text: str, option: str) -> Self:
        """Read a template.

        Args:
            option: names it in errors, such as `task.options.template`.

        Raises:
            ConfigError: braces that do not pair or hold something else than a column's name, or
                no column at all: every row would give the same text.
        """
        found = cls(tuple(_piece(match, text, option) for match in TOKEN.finditer(text)))
        if not found.columns:
            raise ConfigError(
                f"{option} must name a column of the data in braces, such as {{question}}, got "
                f"{text!r}."
            )
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns it names, in the order of their first places."""
        return tuple(dict.fromkeys(text for text, is_column in self.pieces if is_column))

    def fill(self, row: Mapping[str, Any], option: str) -> str:
        """The text for one row.

        Raises:
            DataError: the row lacks a column, or has null or a number there that is none.
        """
        for name in self.columns:
            if not has_column(row, name):
                raise DataError(
                    f"{option} names the column {name!r}, the row has "
                    f"{', '.join(sorted(map(str, row)))}. Correct the name. {HINT}"
                )
            if (value := value_at(row, name)) is None:
                raise DataError(
                    f"{option} names the column {name!r}, which is null there. Fill or remove the "
                    "row"
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise DataError(
                    f"{option} names the column {name!r}, which is {value} there. Fill or remove "
                    "the row"
                )
        if self.columns and not any(as_text(value_at(row, n)).strip() for n in self.columns):
            raise DataError(
                f"{option} must find text in {' or '.join(map(repr, self.columns))}, which is "
                "empty there. Fill or remove the row"
            )
        return "".join(
            as_text(value_at(row, text)) if is_column else text for text, is_column in self.pieces
        )


def as_text(value: Any) -> str:
    """A value of a row: text as it is, everything else as JSON writes it.

    >>> as_text(["a", True, None, 0.5])
    '["a", true, null, 0.5]'
    """
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _piece(match: re.Match[str], text: str, option: str) -> tuple[str, bool]:
    token, name = match[0], match[1]
    if token in ("{{", "}}"):
        return token[0], False
    if token in ("{", "}") or (name and not NAME.fullmatch(name)):
        shown = text[max(0, match.start() - 12) : match.end() + 12]
        raise ConfigError(
            f"{option} must hold nothing but names of columns in single braces, got {token!r} in "
            f"{shown!r}. {HINT}."
        )
    return (name, True) if name else (token, False)
