"""`--set section.key=value`: changes to the plain tree of a recipe, before it is validated."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from rlpeft.errors import ConfigError
from rlpeft.files import reason
from rlpeft.recipe.mix import called


def with_overrides(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The tree, in which each `section.key=value` has its value (in TOML syntax).

    A table of a list is named by its place or by what it is called: `task.0.weight=3` or
    `task.swap.weight=3`.

    Raises:
        ConfigError: no such form, a value that TOML does not know, or no such table.
    """
    for override in overrides:
        _apply(tree, override)
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set must be section.key=value, got {override!r}.")
    *sections, leaf = key.strip().split(".")
    found: Any = tree
    for at, section in enumerate(sections):
        if isinstance(found, list):
            found = _entry(found, section, ".".join(sections[:at]))
        else:
            found = found.setdefault(section, {})
        if not isinstance(found, (dict, list)):
            raise ConfigError(f"--set {override!r}: {section!r} is a value, not a section.")
    if isinstance(found, list):
        place = ".".join(sections)
        names = table_names(found)
        known = " or ".join(
            f"{place}.{_named(names, at)}.{leaf}={text.strip()}" for at, _ in enumerate(names)
        )
        raise ConfigError(
            f"--set {override!r}: {place!r} is a list. Name one of its tables: {known}"
        )
    found[leaf] = _toml_value(text.strip())


def _entry(entries: list[Any], name: str, place: str) -> Any:
    """The table of a list that is called so."""
    names = table_names(entries)
    same = [entry for entry, known in zip(entries, names, strict=True) if known == name]
    if len(same) == 1:
        return same[0]
    if name.isdecimal() and int(name) < len(entries):
        return entries[int(name)]
    raise ConfigError(
        f"--set must name a table of {place!r} by its place, from 0, or by what it alone is "
        f"called, of {', '.join(names)}, got {name!r}."
    )


def _named(names: list[str], at: int) -> str:
    """What names one table in an override: the place where a name is none alone, or has dots."""
    name = names[at]
    return name if name and "." not in name and names.count(name) == 1 else str(at)


def table_names(entries: list[Any]) -> list[str]:
    """What the tables of a list are called; several may have one name, or none."""
    tables = [entry if isinstance(entry, dict) else {} for entry in entries]
    return [
        str(table.get("label") or (called(table) if {"name", "path"} & table.keys() else ""))
        for table in tables
    ]


def _toml_value(text: str) -> Any:
    """A TOML value; a bare word is taken as a string, as people type it in a shell."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--set must give a TOML value, got {reason(error)}.") from error
