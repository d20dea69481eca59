"""What of an object of the program's is here to compare: its fields, and its built-in part.

An object of a subclass of float, set or dict is a number, a set or a dictionary as well, and that
part of it is here: what its operators say can be held against it.
"""

from __future__ import annotations

import operator
from typing import Any

from rewards.code.bridge import mirror
from rewards.code.errors import Unjudged

_NESTED = (*mirror.CONTAINERS, tuple, frozenset)
_MAX_NODES, _MAX_DEPTH = 20_000, 150
_KEYWORDS = {"and": operator.and_, "or": operator.or_, "divmod": divmod}

NOTHING = object()
"""The built-in part of an object that has none."""


def is_program(value: Any) -> bool:
    """Whether a value stands for an object or a class of the program's."""
    return mirror.handle_of(value) is not None


def builtin_of(target: Any) -> Any:
    """Return the built-in class that the class of `target` derives from; `object` if none."""
    return next((base for base in type(target).__mro__ if base in mirror.BUILTIN), object)


def plain(value: Any) -> Any:
    """Return the built-in part of an object of the program's, any other value as it is.

    Returns:
        a copy of the very built-in class, or `NOTHING`.
    """
    if not is_program(value):
        return value
    builtin = builtin_of(value)
    if builtin in mirror.IMMUTABLE:
        return mirror.IMMUTABLE[builtin](value)
    if builtin not in mirror.CONTAINERS:
        return NOTHING
    if not issubclass(builtin, dict):
        return builtin(builtin.__iter__(value))
    copy = builtin()
    dict.update(copy, dict.items(value))
    return copy


def computed(target: Any, name: str, operand: Any) -> Any:
    """Return what the built-in part of `target` gives for an arithmetic operator, else `NOTHING`.

    Args:
        name: such as `__sub__`, `__rsub__` or `__isub__`.
    """
    word = name.strip("_")
    base = word if word in mirror.BINARY.split() else word[1:]
    apply = _KEYWORDS.get(base) or getattr(operator, base)
    pair = (plain(target), operand)
    try:
        return NOTHING if pair[0] is NOTHING else apply(*pair[:: -1 if word == "r" + base else 1])
    except (TypeError, ValueError, ArithmeticError):
        return NOTHING


def _immutable(value: Any) -> Any:
    builtin = builtin_of(value)
    return plain(value) if builtin in mirror.IMMUTABLE and builtin not in _NESTED else None


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


class Shape:
    """Walks the fields of objects; a cycle becomes the distance to what it returns to."""

    def __init__(self, bridge: Any) -> None:
        self._bridge = bridge
        self._path: list[Any] = []
        self._num_nodes = 0

    def of(self, value: Any) -> Any:
        self._num_nodes += 1
        if self._num_nodes > _MAX_NODES or len(self._path) > _MAX_DEPTH:
            raise Unjudged(f"objects of more than {_MAX_NODES} parts are compared")
        if isinstance(value, mirror.MirrorMeta):
            return ("class", mirror.handle_of(value))
        if not is_program(value) and type(value) not in _NESTED:
            return value if _is_hashable(value) else ("thing", id(value))
        for distance, one in enumerate(reversed(self._path)):
            if one is value:
                return ("again", distance)
        self._path.append(value)
        if is_program(value):
            shape: tuple[Any, ...] = (
                "object",
                mirror.handle_of(type(value)),
                self._fields(value),
                _immutable(value),
            )
            shape += (self._items(value),) if builtin_of(value) in _NESTED else ()
        else:
            shape = (type(value).__name__, self._items(value))
        self._path.pop()
        return shape

    def _fields(self, value: Any) -> Any:
        fields = self._bridge.request("fields", value)
        if fields is None:  # a function or the like, which is itself and nothing else
            return mirror.handle_of(value)
        return frozenset((name, self.of(item)) for name, item in fields)

    def _items(self, value: Any) -> Any:
        if isinstance(value, dict):
            pairs = zip(dict.keys(value), dict.values(value), strict=True)
            return frozenset((self.of(key), self.of(item)) for key, item in pairs)
        if isinstance(value, (set, frozenset)):
            return frozenset(self.of(item) for item in value)
        return tuple(self.of(item) for item in value)
