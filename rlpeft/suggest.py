"""What was probably meant: names near to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to add to an error, with a blank before it; empty where nothing is near.

    >>> did_you_mean("quikstart", ["quickstart", "tiny-mix"])
    " Did you mean 'quickstart'?"
    """
    by_case = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), by_case, n=1, cutoff=0.6)
    return f" Did you mean {by_case[near[0]]!r}?" if near else ""


def paths_beside(path: Path, *endings: str) -> list[str]:
    """What lies where `path` was looked for: all, or the files of some endings, such as `.toml`."""
    folder = path.parent if path.parent.is_dir() else Path()
    try:
        found = list(folder.iterdir())
    except OSError:  # a folder that may not be read has nothing to suggest
        return []
    return sorted(str(file) for file in found if not endings or file.name.endswith(endings))


def keys_beside(schema: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """Names of the fields among which the last part of `place` was looked for.

    Args:
        place: where a value stands, as pydantic names it: fields, indices, tags of unions.
    """
    found: list[type[BaseModel]] = [schema]
    for part in place[:-1]:
        inner = [
            section
            for each in found
            if isinstance(part, str) and part in each.model_fields
            for section in _sections(each.model_fields[part].annotation)
        ]
        tagged = [each for each in found if part in _tags(each)]
        found = inner or tagged or found
    return sorted({name for each in found for name in each.model_fields})


def elsewhere(schema: type[BaseModel], key: str) -> str:
    """A sentence to add to an error: in which sections there is a key of this very name."""
    places = sorted(set(_places(schema, key)))
    return f" There is {' and '.join(map(repr, places))}." if places else ""


def _places(schema: type[BaseModel], key: str, prefix: str = "", depth: int = 2) -> Iterator[str]:
    for name, field in schema.model_fields.items():
        if name == key and prefix:
            yield f"{prefix}{name}"
        for section in _sections(field.annotation) if depth else ():
            yield from _places(section, key, f"{prefix}{name}.", depth - 1)


def _sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for inner in get_args(annotation) for section in _sections(inner)]


def _tags(section: type[BaseModel]) -> tuple[Any, ...]:
    """What `type` may be, in a member of a union."""
    field = section.model_fields.get("type")
    return () if field is None else get_args(field.annotation)
