"""A recipe written as TOML, which `tomllib` of the standard library only reads."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rlpeft.errors import ConfigError
from rlpeft.recipe.adapter import Section

BARE = re.compile(r"[A-Za-z0-9_-]+")
"""A key that needs no quotes."""


def filled_in(recipe: Section) -> str:
    """A recipe with all defaults written out; what is absent has no default, and stays absent.

    Raises:
        ConfigError: a null among the options of a `recipe.json`, which TOML cannot say.
    """
    # Defaults are not validated: a whole number among floats is one only once it is read.
    read = type(recipe).model_validate(recipe.model_dump())
    return "\n\n".join(map("\n".join, _blocks(read.model_dump(exclude_none=True))))


def toml_value(value: Any) -> str:
    r"""A value as TOML, in one line.

    >>> toml_value({"labels": ("a", 'b"'), "t": 1e-5})
    '{ labels = ["a", "b\\""], t = 1e-05 }'

    Raises:
        ConfigError: nothing that TOML can say.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        # JSON's escapes are TOML's, except that TOML allows no delete character in a text.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        pairs = ", ".join(_pairs(value))
        return f"{{ {pairs} }}" if pairs else "{}"
    raise ConfigError(f"a recipe in TOML cannot hold {value!r}. Remove it from the options.")


def _blocks(tree: Mapping[str, Any]) -> Iterator[list[str]]:
    """The keys of no section, then each section; below it only its own `options` and the like."""
    sections = {key: _sections(value) for key, value in tree.items()}
    yield [*_pairs({key: tree[key] for key, found in sections.items() if not found})]
    for name, found in sections.items():
        header = f"[[{name}]]" if isinstance(tree[name], (list, tuple)) else f"[{name}]"
        for section in found:
            # What is nested deeper stays in one line: a template may write such a table into a
            # prompt, and the order of its keys is then the prompt's.
            below = {k: v for k, v in section.items() if v and isinstance(v, Mapping)}
            yield [header, *_pairs({k: v for k, v in section.items() if k not in below})]
            for key, value in below.items():
                yield [f"[{name}.{key}]", *_pairs(value)]


def _sections(value: Any) -> list[Mapping[str, Any]]:
    """The tables in a value that is one, or a list of them; an empty one is written as `{}`."""
    if isinstance(value, Mapping):
        return [value] if value else []
    if isinstance(value, (list, tuple)) and all(isinstance(each, Mapping) for each in value):
        return list(value)
    return []


def _pairs(tree: Mapping[str, Any]) -> Iterator[str]:
    for key, value in tree.items():
        name = key if BARE.fullmatch(key) else toml_value(key)
        yield f"{name} = {toml_value(value)}"
