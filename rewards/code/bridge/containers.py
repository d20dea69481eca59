"""Lists, dictionaries and sets by the built-in means of their kinds.

An object of a subclass may override how its items are read; what travels is what it holds.
"""

from __future__ import annotations

import operator
from collections import OrderedDict, deque
from typing import Any

from rewards.code.bridge import mirror

EXACT = frozenset(mirror.CONTAINERS)
KINDS = {kind.__name__: kind for kind in mirror.CONTAINERS}
VIEWS = {
    type({}.keys()): lambda items: dict.fromkeys(items).keys(),
    type({}.values()): lambda items: dict(enumerate(items)).values(),
    type({}.items()): lambda items: dict(items).items(),
}
VIEWS_BY_NAME = {kind.__name__: make for kind, make in VIEWS.items()}


def read(value: Any) -> list[Any]:
    """Return the items of a container as a flat list, by the built-in means of its kind."""
    if isinstance(value, dict):
        kind: Any = OrderedDict if isinstance(value, OrderedDict) else dict
        return [*kind.keys(value), *kind.values(value)]
    if isinstance(value, list):
        return list.__getitem__(value, slice(None))
    base = next(kind for kind in (set, deque, bytearray) if isinstance(value, kind))
    return list(base.__iter__(value))


def write(value: Any, items: list[Any]) -> None:
    """Give a container other items, in place."""
    if isinstance(value, dict):
        kind: Any = OrderedDict if isinstance(value, OrderedDict) else dict
        kind.clear(value)
        half = len(items) // 2
        for key, item in zip(items[:half], items[half:], strict=True):
            kind.__setitem__(value, key, item)
    elif isinstance(value, (list, bytearray)):
        type_of: Any = list if isinstance(value, list) else bytearray
        type_of.__setitem__(value, slice(None), items if type_of is list else bytes(items))
    else:
        base: Any = set if isinstance(value, set) else deque
        base.clear(value)
        (set.update if base is set else deque.extend)(value, items)


def same(items: list[Any], before: list[Any]) -> bool:
    """Whether two flat lists hold the same objects."""
    # By identity: the comparisons of the items may be foreign code.
    return len(items) == len(before) and all(map(operator.is_, items, before))
