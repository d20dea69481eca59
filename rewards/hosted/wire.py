"""What crosses the pipe between a run and the process of its rewards: JSON, and nothing else.

JSON lacks what rows from a Hub dataset may hold: bytes, dates, tuples, keys that are no text. They
travel in a tagged form and arrive as they were. What has no form here is refused by its type.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from rewards.errors import RewardError

_TAG = "\0kind"

_WRITERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bytes: ("bytes", lambda value: base64.b64encode(value).decode()),
    datetime.datetime: ("datetime", datetime.datetime.isoformat),
    datetime.date: ("date", datetime.date.isoformat),
    datetime.time: ("time", datetime.time.isoformat),
    Decimal: ("decimal", str),
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "bytes": base64.b64decode,
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "decimal": Decimal,
    "tuple": lambda items: tuple(unpacked(item) for item in items),
    "pairs": lambda pairs: {unpacked(key): unpacked(value) for key, value in pairs},
}


def packed(value: Any, *, what: str) -> Any:
    """The value in JSON's own types.

    Args:
        what: the value, for the error.

    Raises:
        RewardError: it holds something that has no form here.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return _plain_scalar(value)
    if isinstance(value, list):
        return [packed(item, what=what) for item in value]
    if isinstance(value, tuple):
        return {_TAG: "tuple", "value": [packed(item, what=what) for item in value]}
    if isinstance(value, Mapping):
        return _packed_mapping(value, what)
    if type(value) in _WRITERS:
        kind, write = _WRITERS[type(value)]
        return {_TAG: kind, "value": write(value)}
    if hasattr(value, "tolist"):  # numpy and torch: as plain numbers, which rewards of text read
        return packed(value.tolist(), what=what)
    raise RewardError(
        f"{what} must hold text, numbers, lists, dicts, bytes or dates to be given to a reward, "
        f"got a {type(value).__name__}. Drop that column, or write it as text."
    )


def _plain_scalar(value: Any) -> Any:
    """Without the subclass, which JSON would not bring back: enum members, numpy's str."""
    for kind in (str, float):
        if isinstance(value, kind) and type(value) is not kind:
            return kind(value)
    return value


def _packed_mapping(value: Mapping[Any, Any], what: str) -> Any:
    if all(type(key) is str for key in value) and _TAG not in value:
        return {key: packed(item, what=what) for key, item in value.items()}
    pairs = [[packed(k, what=what), packed(v, what=what)] for k, v in value.items()]
    return {_TAG: "pairs", "value": pairs}


def unpacked(value: Any) -> Any:
    """What `packed` was given."""
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    if isinstance(value, dict):
        if _TAG in value:
            return _READERS[value[_TAG]](value["value"])
        return {key: unpacked(item) for key, item in value.items()}
    return value
