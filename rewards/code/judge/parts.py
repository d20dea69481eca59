"""What of an object of the program's is here to compare: its fields, and its built-in part.

An object of a subclass of float, set or dict is a number, a set or a dictionary as well, and that
part of it is here: what its operators say can be held against it.
"""

from __future__ import annotations

import builtins
import math
import operator
from typing import Any

from rewards.code.bridge import mirror
from rewards.code.errors import Unjudged

_NESTED = (*mirror.CONTAINERS, tuple, frozenset)
_MAX_NODES, _MAX_DEPTH = 20_000, 150
_BUILTINS = "divmod pow round float int complex bool len str repr format bytes hash"
_NAMED_OTHERWISE: dict[str, Any] = {
    **{"and": operator.and_, "or": operator.or_},
    **{name: getattr(builtins, name) for name in _BUILTINS.split()},
    **{"trunc": math.trunc, "floor": math.floor, "ceil": math.ceil},
}

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


def computed(target: Any, name: str, *operands: Any) -> Any:
    """Return what the built-in part of `target` gives for an operator, `NOTHING` if it has none.

    Args:
        target: an object of the program's.
        name: such as `__sub__`, `__rsub__`, `__isub__`, `__abs__` or `__round__`.
        operands: what it is applied to.
    """
    word = name.strip("_")
    is_binary = word in mirror.BINARY.split() or word[1:] not in mirror.BINARY.split()
    base = word if is_binary else word[1:]
    apply = _NAMED_OTHERWISE.get(base) or getattr(operator, base, None)
    parts = [plain(target), *map(plain, operands)]
    if apply is None or any(part is NOTHING for part in parts):
        return NOTHING
    try:
        return apply(*parts[:: -1 if not is_binary and word[0] == "r" else 1])
    except (TypeError, ValueError, ArithmeticError, LookupError):
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
