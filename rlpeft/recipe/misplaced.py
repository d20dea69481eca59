"""Where a key of a recipe was probably meant to stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rlpeft.recipe.by_type import ByType


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
            for section in _sections(each.model_fields[part])
        ]
        tagged = [each for each in found if part in _tags(each)]
        found = inner or tagged or found
    return sorted({name for each in found for name in each.model_fields})


def elsewhere(schema: type[BaseModel], key: str, *, here: str) -> str:
    """A sentence to add to an error: in which other sections there is a key of this very name.

    Args:
        here: where it was written; a section of another kind may have it there.
    """
    places = sorted({*_places(schema, key)} - {here})
    return f" There is {' and '.join(map(repr, places))}." if places else ""


def _places(schema: type[BaseModel], key: str, prefix: str = "", depth: int = 2) -> Iterator[str]:
    for name, field in schema.model_fields.items():
        if name == key and prefix:
            yield f"{prefix}{name}"
        for section in _sections(field) if depth else ():
            yield from _places(section, key, f"{prefix}{name}.", depth - 1)


def _sections(field: FieldInfo) -> list[type[BaseModel]]:
    by_type = [each for each in field.metadata if isinstance(each, ByType)]
    return [*by_type[0].sections().values()] if by_type else _classes(field.annotation)


def _classes(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for inner in get_args(annotation) for section in _classes(inner)]


def _tags(section: type[BaseModel]) -> tuple[Any, ...]:
    """What `type` may be, in a member of a union."""
    field = section.model_fields.get("type")
    return () if field is None else get_args(field.annotation)
