"""A section of several kinds, told apart by its `type` and found by import path.

A union of classes would have to import what stands on higher floors, and be written anew for each
kind that is added. Here a kind is an entry of a table, and its module is imported when a recipe
names it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic_core import CoreSchema, SchemaValidator, core_schema


@dataclass(frozen=True)
class ByType:
    """Annotates a section's field: `search: Annotated[SearchConfig, ByType(TABLE, default="cem")]`.

    Attributes:
        table: type -> `module:Class` of the section, which has a field `type` of that value.
        default: the type of a section that names none.
    """

    table: Mapping[str, str]
    default: str

    def sections(self) -> dict[str, type[BaseModel]]:
        """Type -> its section."""
        return {name: _imported(path) for name, path in self.table.items()}

    def read(self, value: Any) -> Any:
        """The section that a value of a recipe is.

        Raises:
            ValidationError: it is none of the table.
        """
        tree = {"type": self.default} | value if isinstance(value, dict) else value
        named = tree.get("type") if isinstance(tree, dict) else getattr(tree, "type", None)
        # A kind that nobody has asked for need not be imported; an unknown one is told of all.
        kinds = {named} if isinstance(named, str) and named in self.table else self.table.keys()
        return SchemaValidator(self._union(kinds)).validate_python(tree)

    def _union(self, kinds: Collection[str]) -> CoreSchema:
        schemas = {name: _imported(self.table[name]).__pydantic_core_schema__ for name in kinds}
        return core_schema.tagged_union_schema(schemas, discriminator="type")

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        # A section is written as what it is, not as the base class that the field names.
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(self._union(self.table.keys()))


def _imported(path: str) -> type[BaseModel]:
    module, _, name = path.partition(":")
    found: type[BaseModel] = getattr(import_module(module), name)
    return found
