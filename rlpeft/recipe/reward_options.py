"""The options of built-in rewards, read from their functions: keywords, and what `Args:` says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from rewards.registry import REWARDS, imported
from rlpeft.recipe.options import Option, OptionTable
from rlpeft.recipe.toml import toml_value

WORDS = {"str": "string", "int": "integer", "bool": "boolean"}
"""TOML's names of types, where Python has others."""

DOCUMENTED = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)$", re.MULTILINE)
"""An argument in a docstring, and what is said of it."""


def reward_option_tables() -> list[OptionTable]:
    """A table a built-in reward: its options, of which many have none."""
    return [_table(name, imported(found.verify or found.reward)) for name, found in REWARDS.items()]


def _table(name: str, function: Callable[..., Any]) -> OptionTable:
    doc = inspect.getdoc(function) or ""
    return OptionTable(
        section="reward.options",
        header="[reward.options]",
        given=f"reward.name = {toml_value(name)}",
        doc=" ".join(doc.partition("\n\n")[0].split()),
        options=tuple(_options(function, dict(DOCUMENTED.findall(doc)))),
    )


def _options(function: Callable[..., Any], docs: dict[str, str]) -> Iterator[Option]:
    for each in inspect.signature(function).parameters.values():
        # A class is built with its options; what a function reads of a batch comes by position.
        if each.kind is each.KEYWORD_ONLY or inspect.isclass(function):
            required = each.default is each.empty
            is_said = not required and isinstance(each.default, (str, int, float, tuple))
            yield Option(
                name=each.name,
                type=_words(str(each.annotation)),
                default=toml_value(each.default) if is_said else "",
                required=required,
                bounds="",
                doc=" ".join(docs.get(each.name, "").split()),
            )


def _words(annotation: str) -> str:
    """A Python type in TOML's words.

    >>> _words("Sequence[str] | None")
    'array of string'
    """
    named = annotation.removesuffix(" | None")
    if inner := re.fullmatch(r"Sequence\[(\w+)\]", named):
        return f"array of {_words(inner[1])}"
    return WORDS.get(named, "string or table" if named == "Policy" else named)
