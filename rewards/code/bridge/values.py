"""Values of the standard library as data: what is immutable travels, and is built anew.

Only exact types travel so; an object of a subclass may carry a comparison of its own.
"""

from __future__ import annotations

import datetime
import importlib
import pathlib
import sys
import types
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any

from rewards.code.bridge.wire import WireError

_SAFE_INT = 1 << 53
_PLAIN = frozenset({type(None), bool, float, str})
_PATHS = (pathlib.PurePosixPath, pathlib.PosixPath)
_SINGLE: dict[str, Any] = {"...": Ellipsis, "NotImplemented": NotImplemented}


def is_plain(value: Any) -> bool:
    """Whether `value` is JSON as it stands."""
    kind = type(value)
    return kind in _PLAIN or (kind is int and -_SAFE_INT < value < _SAFE_INT)


def to_data(value: Any) -> dict[str, Any] | None:
    """Return the data of an immutable standard value that holds no other, `None` for the rest."""
    kind = type(value)
    if kind is int:
        return {"int": hex(value)}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind is range:
        return {"range": [hex(value.start), hex(value.stop), hex(value.step)]}
    if kind is Decimal:
        return {"decimal": str(value)}
    if kind is Fraction:
        return {"fraction": [hex(value.numerator), hex(value.denominator)]}
    if kind is uuid.UUID:
        return {"uuid": value.hex}
    if kind in _PATHS:
        return {"path": [kind.__name__, str(value)]}
    if value is Ellipsis or value is NotImplemented:
        return {"single": "..." if value is Ellipsis else "NotImplemented"}
    return _moment_data(value)


def _moment_data(value: Any) -> dict[str, Any] | None:
    kind = type(value)
    if kind is datetime.timedelta:
        return {"timedelta": [value.days, value.seconds, value.microseconds]}
    if kind is datetime.date:
        return {"date": [value.year, value.month, value.day]}
    if kind not in (datetime.datetime, datetime.time):
        return None
    zone = value.tzinfo
    if zone is not None and type(zone) is not datetime.timezone:
        return None
    offset = None if zone is None else _moment_data(zone.utcoffset(None))
    return {kind.__name__: [value.replace(tzinfo=None).isoformat(), value.fold, offset]}


def from_data(tag: str, content: Any) -> Any:
    """Return the value behind `{tag: content}`.

    Raises:
        WireError: it is no such data.
    """
    try:
        return _READERS[tag](content)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise WireError(f"no value: {tag!r:.40}") from error


def _moment(kind: Any) -> Any:
    def read(content: Any) -> Any:
        text, fold, offset = content
        zone = None
        if offset is not None:
            zone = datetime.timezone(from_data("timedelta", offset["timedelta"]))
        return kind.fromisoformat(text).replace(tzinfo=zone, fold=fold)

    return read


def _hexes(content: Any) -> list[int]:
    return [int(text, 16) for text in content]


_READERS: dict[str, Any] = {
    "int": lambda content: int(content, 16),
    "bytes": bytes.fromhex,
    "complex": lambda content: complex(*content),
    "range": lambda content: range(*_hexes(content)),
    "decimal": Decimal,
    "fraction": lambda content: Fraction(*_hexes(content)),
    "single": _SINGLE.__getitem__,
    "uuid": uuid.UUID,
    "path": lambda content: {kind.__name__: kind for kind in _PATHS}[content[0]](content[1]),
    "timedelta": lambda content: datetime.timedelta(*content),
    "date": lambda content: datetime.date(*content),
    "time": _moment(datetime.time),
    "datetime": _moment(datetime.datetime),
}


# Types that the interpreter does not export under their own names.
_UNNAMED = {
    getattr(types, name): name
    for name in dir(types)
    if name.endswith("Type") and name not in ("NoneType", "NotImplementedType", "EllipsisType")
}


def standard_name(value: Any) -> str | None:
    """Return `module:name` of a type or function that the standard library exports so."""
    if isinstance(value, type) and value in _UNNAMED:
        return f"types:{_UNNAMED[value]}"
    name, module = getattr(value, "__qualname__", None), getattr(value, "__module__", None)
    if module is None:  # a method of a built-in type, such as `str.upper`
        module = getattr(getattr(value, "__objclass__", None), "__module__", None)
    if not isinstance(name, str) or not isinstance(module, str):
        return None
    if module.partition(".")[0] not in sys.stdlib_module_names:
        return None
    return f"{module}:{name}" if _exported(f"{module}:{name}") is value else None


def standard_type(name: str) -> type | None:
    """Return the type called `module:name`, if its module has been imported here."""
    module = name.partition(":")[0].partition(".")[0]
    # An exception of unittest's would be obeyed: SkipTest skips a test.
    known = module in sys.stdlib_module_names and module != "unittest"
    value = _exported(name) if known else None
    return value if isinstance(value, type) else None


def standard_object(name: str) -> Any:
    """Return what is called `module:name` in the standard library, `None` if nothing is."""
    module = name.partition(":")[0]
    if module.partition(".")[0] in sys.stdlib_module_names:
        importlib.import_module(module)
    return _exported(name)


def _exported(name: str) -> Any:
    module, _, path = name.partition(":")
    value = sys.modules.get(module)
    for part in path.split("."):
        value = getattr(value, part, None)
    return value
