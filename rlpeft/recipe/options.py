"""Every option of a recipe with its type, default, bounds and docstring, and the editors' schema.

Both are read from the JSON schema that pydantic makes of the sections' fields, so an option is
documented once: by the string under its field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlpeft.errors import ConfigError
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.adapter import Section
from rlpeft.recipe.together import ExpertsRecipe
from rlpeft.recipe.toml import toml_value
from rlpeft.suggest import did_you_mean

Node = Mapping[str, Any]
"""A part of a JSON schema."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"

WORDS = {"number": "float", "object": "table"}
"""TOML's names of types, where JSON has others."""

BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "{} or more items",
    "maxItems": "{} items at most",
    "minLength": "{} or more letters",
    "maxLength": "{} letters at most",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One key of a section.

    Attributes:
        type: in TOML's words, or the values there are.
        default: as TOML; empty where the key must be given or is absent unless given.
        required: whether it must be given.
        bounds: what a value must keep; empty if any will do.
        doc: what it does.
    """

    name: str
    type: str
    default: str
    required: bool
    bounds: str
    doc: str


@dataclass(frozen=True, slots=True)
class OptionTable:
    """The options of one section, or of one member of a union.

    Attributes:
        section: its name; empty for keys above all sections.
        header: as TOML has it: `[loss]`, `[[reward]]`.
        given: the key of a union that has these options: `type = "hyplora"`.
        doc: what it is.
    """

    section: str
    header: str
    given: str
    doc: str
    options: tuple[Option, ...]


def recipe_schema(schema: type[Section], *, title: str) -> dict[str, Any]:
    """The JSON schema of a recipe, for editors.

    Members of a union are offered side by side, not one alone: where `type` is left out, the
    defaults of several may fit.
    """
    return {"$schema": DIALECT, **_without_nulls(schema.model_json_schema()), "title": title}


def option_tables(schema: type[Section]) -> list[OptionTable]:
    """All options of a recipe: the keys of no section, then section by section."""
    tree = _without_nulls(schema.model_json_schema())
    defs, keys = tree["$defs"], tree["properties"]
    plain = {name: node for name, node in keys.items() if not _members(node, defs)}
    above = _table({**tree, "properties": plain}, defs, "", "", "")
    return [above, *(table for name, node in keys.items() for table in _tables(name, node, defs))]


def all_option_tables() -> list[OptionTable]:
    """Those of a run, then those that an adaptation has of its own."""
    trained, adapted = option_tables(ExpertsRecipe), option_tables(AdaptRecipe)
    shared = {table.section for table in trained if table.section}
    return [*trained, *(table for table in adapted if table.section not in shared)]


def options_of(schema: type[Section], *, section: str, given: str) -> OptionTable:
    """The options of a section that stands in no recipe's schema: those of one task."""
    tree = _without_nulls(schema.model_json_schema())
    return _table(tree, tree.get("$defs", {}), section, f"[{section}]", given)


def of_section(tables: Sequence[OptionTable], section: str) -> list[OptionTable]:
    """The tables of one section.

    Raises:
        ConfigError: there is no such section.
    """
    found = [table for table in tables if table.section == section]
    if not found:
        known = list(dict.fromkeys(table.section for table in tables if table.section))
        meant = did_you_mean(section, known) or f" Known are {', '.join(known)}."
        raise ConfigError(f"--section must name a section of a recipe, got {section!r}.{meant}")
    return found


def _tables(name: str, node: Node, defs: Node) -> Iterator[OptionTable]:
    """The tables of one section, as many as it has types, or forms: one table or a list of them."""
    for form in node.get("anyOf", [node]):
        header = f"[[{name}]]" if form.get("type") == "array" else f"[{name}]"
        for member in _members(form, defs):
            kind = member["properties"].get("type") if "anyOf" in node else None
            given = "" if kind is None else f"type = {_type(kind, defs)}"
            doc = " ".join(filter(None, (_said(member), _said(node))))
            yield _table({**member, "description": doc}, defs, name, header, given)


def _table(node: Node, defs: Node, section: str, header: str, given: str) -> OptionTable:
    required = node.get("required", ())
    found = tuple(
        _option(name, field, defs, required=name in required)
        for name, field in node["properties"].items()
        if not (name == "type" and given)  # stands in the heading
    )
    return OptionTable(section, header, given, _said(node), found)


def _option(name: str, node: Node, defs: Node, *, required: bool) -> Option:
    default = "" if required or node.get("default") is None else toml_value(node["default"])
    return Option(name, _type(node, defs), default, required, _bounds(node), _said(node))


def _said(node: Node) -> str:
    return " ".join(node.get("description", "").split())


def _members(node: Node, defs: Node) -> list[Node]:
    """The sections that a key may hold; none where it holds a value."""
    if "$ref" in node:
        return [defs[node["$ref"].rpartition("/")[2]]]
    parts = node.get("anyOf", [node["items"]] if "items" in node else [])
    return [member for part in parts for member in _members(part, defs)]


def _type(node: Node, defs: Node) -> str:
    if values := node.get("enum", [node["const"]] if "const" in node else []):
        return " | ".join(map(toml_value, values))
    if "anyOf" in node:
        return " or ".join(sorted({_type(part, defs) for part in node["anyOf"]}, key=len))
    if "prefixItems" in node:
        return f"[{', '.join(_type(part, defs) for part in node['prefixItems'])}]"
    if "items" in node:
        return f"array of {_type(node['items'], defs)}"
    return str(node.get("format") or WORDS.get(kind := node.get("type", "table"), kind))


def _bounds(node: Node) -> str:
    # How many items there are is said by the type where there is a type for each.
    kept = BOUNDS.items() if "prefixItems" not in node else ()
    own = [form.format(node[name]) for name, form in kept if name in node]
    for part in node.get("anyOf", ()):
        own += filter(None, [_bounds(part)])
    inner = [node["items"]] if "items" in node else node.get("prefixItems", ())
    each = dict.fromkeys(filter(None, map(_bounds, inner)))
    return ", ".join([*own, *(f"each {bound}" for bound in each)])


def _without_nulls(node: Any) -> Any:
    """The schema without what TOML cannot write, and with unions as `anyOf`."""
    if isinstance(node, list):
        return [_without_nulls(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    found = {
        "anyOf" if key == "oneOf" else key: _without_nulls(value)
        for key, value in node.items()
        if not (key == "default" and value is None)
    }
    parts = [part for part in found.get("anyOf", ()) if part != {"type": "null"}]
    if len(parts) == 1:  # what may be absent
        return {**parts[0], **{key: value for key, value in found.items() if key != "anyOf"}}
    return found | ({"anyOf": parts} if parts else {})
