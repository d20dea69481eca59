"""A recipe written as YAML, of which no more is read than TOML can say.

What stands there means one thing or is refused. YAML 1.1 and 1.2 read `no`, `010` and `1e-4`
differently, and PyYAML is of the first: a label `no` would become `False`, a learning rate text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rlpeft.errors import ConfigError
from rlpeft.files import read_text, reason

ENDINGS = (".yaml", ".yml")
"""Of recipes in YAML."""

MOST_CHARACTERS = 200_000
"""Of a recipe; it is read letter by letter."""

MOST_VALUES = 20_000
"""Of a recipe with every alias written out: ten lines of aliases of aliases would be billions."""

CORE = "tag:yaml.org,2002:"
PLAIN = {f"{CORE}{name}" for name in ("map", "seq", "str", "bool", "int", "float", "null")}
PLAIN |= {f"{CORE}merge", f"{CORE}timestamp"}
"""Kinds of values that are read; `!!python/…`, `!!binary`, `!!set` and the like are not."""

NUMBERS = {
    "int": (r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:(?:[0-9]+(?:_[0-9]+)*\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|\.inf)|\.nan",
        "-+.0123456789",
    ),
}
"""As YAML 1.2 and TOML write them, with the first letters they may have."""

DOUBTFUL = re.compile(r"(?i:yes|no|on|off)|[-+]?0[0-9_]+|[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.\d*)?")
"""Truth values, octal and sexagesimal numbers to YAML 1.1, text and decimals to 1.2."""


class Reader(yaml.SafeLoader):
    """Plain values, by the rules of YAML 1.2 where 1.1 has others."""

    yaml_implicit_resolvers = {  # of 1.1 what 1.2 and TOML read the same way
        first: [
            (tag, form) for tag, form in known if tag.rpartition(":")[2] not in (*NUMBERS, "bool")
        ]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number; `0o17` is octal, as in TOML."""
        return int(node.value, base=0)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """A number such as `1e-4`."""
        return float(node.value.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


for _name, (_form, _first) in NUMBERS.items():
    Reader.add_implicit_resolver(f"{CORE}{_name}", re.compile(rf"(?:{_form})\Z"), list(_first))
Reader.add_implicit_resolver(
    f"{CORE}bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)
Reader.add_constructor(f"{CORE}int", Reader.construct_yaml_int)
Reader.add_constructor(f"{CORE}float", Reader.construct_yaml_float)


def read_yaml(path: Path, *, what: str = "recipe") -> dict[str, Any]:
    """The plain tree of a recipe, or of what else is written as carefully.

    Raises:
        ConfigError: no YAML, or more or something else than a recipe holds; with file and line.
    """
    text = read_text(path, ConfigError)
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(
            f"{what} {str(path)!r} must have at most {MOST_CHARACTERS:,} characters, it has "
            f"{len(text):,}. Keep data in files of their own."
        )
    try:
        tree = _tree(text)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{what} {str(path)!r} must be YAML: {_said(error)}.") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{what} {str(path)!r} must be YAML: {error.reason} (at line {line})."
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{what} {str(path)!r} must be YAML: {reason(error)}.") from error
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{what} {str(path)!r} must hold keys and values, such as `name: mine`, got "
            f"{tree!r:.60}."
        )
    return tree


def _tree(text: str) -> Any:
    reader = Reader(text)
    try:
        node = reader.get_single_node()
        if node is None:
            return {}
        _check_size(node)
        for value in _values(node):
            _check_value(value)
        return _apart(reader.construct_document(node))
    finally:
        reader.dispose()


def _apart(value: Any) -> Any:
    """The value with no part of it in two places: a change to one must not change the other."""
    if isinstance(value, dict):
        return {key: _apart(part) for key, part in value.items()}
    return [*map(_apart, value)] if isinstance(value, list) else value


def _check_size(node: yaml.Node) -> None:
    """Refuse aliases that stand for more than a recipe holds, or for what they stand in."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MOST_VALUES + 1  # met again within itself, it has no end
            sizes[id(node)] = 1 + sum(map(size, _inner(node)))
        return sizes[id(node)]

    if size(node) > MOST_VALUES:
        raise _error(node, f"its aliases, written out, make more than {MOST_VALUES:,} values")


def _values(node: yaml.Node) -> Iterator[yaml.Node]:
    """Every value once."""
    waiting, seen = [node], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            waiting += _inner(node)
            yield node


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _check_value(node: yaml.Node) -> None:
    """Refuse what TOML cannot say, and what means two things."""
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
    if node.tag not in PLAIN:
        raise _error(node, f"a value must be plain, got one of the kind {node.tag!r}")
    is_bare = isinstance(node, yaml.ScalarNode) and node.style is None
    if is_bare and DOUBTFUL.fullmatch(node.value):
        raise _error(
            node,
            f"{node.value} means one thing in YAML 1.1 and another in 1.2: write '{node.value}' "
            "in quotes if it is text, and else true, false or the plain number",
        )


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if key.tag not in (f"{CORE}str", f"{CORE}merge"):
            raise _error(key, f"a key must be text, got {_written(key)}")
        if key.value in seen:
            raise _error(key, f"the key {key.value!r} stands there twice")
        seen.add(key.value)


def _written(node: yaml.Node) -> str:
    return repr(node.value)[:60] if isinstance(node, yaml.ScalarNode) else "a list or a mapping"


def _error(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _said(error: yaml.MarkedYAMLError) -> str:
    """What is wrong and where, as `tomllib` says it."""
    mark = error.problem_mark or error.context_mark
    what = ", ".join(filter(None, (error.context, error.problem)))
    return what if mark is None else f"{what} (at line {mark.line + 1}, column {mark.column + 1})"
