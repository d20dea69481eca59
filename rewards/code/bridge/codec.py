"""Values of two processes that do not trust each other, written as data and read back.

Immutable values travel as they are. Lists, dictionaries and sets live on both sides: every message
carries what its sender changed of them, so that a change in place is seen, and one list stays one
list. Everything else stays where it was made and is a mirror (see `mirror`) on the other side.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections import defaultdict, deque
from typing import Any

from rewards.code.bridge import containers, mirror
from rewards.code.bridge.values import (
    from_data,
    is_plain,
    standard_name,
    standard_object,
    standard_type,
    to_data,
)
from rewards.code.bridge.wire import OverLimit, WireError

_MAX_DEPTH = 150


class Codec:
    """The objects of this side that the other knows, and mirrors of the other's.

    Args:
        first: 0 at one end, 1 at the other, so that both number containers without asking.
    """

    trusts = False
    """Whether the other side may name any standard function, not only types."""

    def __init__(self, first: int) -> None:
        self.root = mirror.root(self)
        self._mine: list[Any] = []
        self._handles: dict[int, int] = {}
        self._theirs: dict[int, Any] = {}
        self._shared: dict[int, list[Any]] = {}  # number: [container, items when last sent]
        self._numbers: dict[int, int] = {}
        self._next = first
        self._dropped: list[int] = []

    def knows(self, name: str) -> bool:
        """Whether the other side takes a standard type by its name."""
        return True

    def function_name(self, value: Any) -> str | None:
        """Return the name under which a standard function is sent, `None` to send a handle."""
        return None

    # --- what both sides hold ----------------------------------------------------------------

    def absorb(self, message: dict[str, Any]) -> None:
        """Take over what the other side changed."""
        for number in message.get("drop", ()):
            container = self._shared.pop(number, [None])[0]
            self._numbers.pop(id(container), None)
        for number, content in message.get("sync", ()):
            entry = self._shared.get(number)
            if entry is not None:
                containers.write(entry[0], self._items(content))
                entry[1] = containers.read(entry[0])

    def parts(self) -> dict[str, Any]:
        """Return what a message carries beside its content."""
        changes = [
            [number, self._contents(items)]
            for number, entry in list(self._shared.items())
            if not containers.same(items := containers.read(entry[0]), entry[1])
            for entry[1] in [items]
        ]
        drop, self._dropped = self._dropped, []
        return {name: part for name, part in (("sync", changes), ("drop", drop)) if part}

    def collect(self) -> None:
        """Forget the containers that nothing here refers to any more."""
        probe: list[Any] = [[], None]
        unused = sys.getrefcount(probe[0])
        found = True
        while found:
            found = False
            for number, entry in list(self._shared.items()):
                if sys.getrefcount(entry[0]) == unused and containers.same(
                    containers.read(entry[0]), entry[1]
                ):
                    del self._shared[number], self._numbers[id(entry[0])]
                    self._dropped.append(number)
                    found = True

    # --- encoding -------------------------------------------------------------------------------

    def encode(self, value: Any, depth: int = 0) -> Any:
        """Return `value` as JSON data."""
        if is_plain(value):
            return value
        if isinstance(value, types.TracebackType):
            return None  # the frames of the tests are nobody else's
        if depth > _MAX_DEPTH:
            raise OverLimit(f"a value is nested deeper than {_MAX_DEPTH}")
        kind = type(value)
        if kind is slice:
            return {"slice": self._contents([value.start, value.stop, value.step], depth + 1)}
        if kind is tuple or kind is frozenset:
            return {kind.__name__: self._contents(list(value), depth + 1)}
        if kind in containers.EXACT:
            return self._container(value, kind, depth)
        if kind in containers.VIEWS:
            return {"view": [kind.__name__, self._contents(list(value), depth + 1)]}
        data = to_data(value)
        if data is not None:
            return data
        handle = mirror.handle_of(value)
        if handle is not None:
            return {"yours": handle}
        return self._reference(value, depth)

    def _contents(self, items: list[Any], depth: int = 1) -> list[Any]:
        return [item if is_plain(item) else self.encode(item, depth) for item in items]

    def _container(self, value: Any, kind: type, depth: int) -> dict[str, Any]:
        number = self._numbers.get(id(value))
        if number is not None:
            return {"ref": number}
        number = self._next = self._next + 2
        items = containers.read(value)
        self._share(number, value, items)
        extra = getattr(value, "maxlen", None) if kind is deque else None
        if kind is defaultdict:
            extra = self.encode(value.default_factory, depth + 1)
        return {"new": [number, kind.__name__, extra, self._contents(items, depth + 1)]}

    def _share(self, number: int, value: Any, items: list[Any]) -> None:
        self._shared[number] = [value, items]
        self._numbers[id(value)] = number

    def _reference(self, value: Any, depth: int) -> dict[str, Any]:
        if isinstance(value, type):
            name = standard_name(value)
            if name is not None and self.knows(name):
                return {"std": name}
            known = id(value) in self._handles
            handle = self._own(value)
            if known:
                return {"class": [handle, None]}
            return {"class": [handle, mirror.describe(value, self._base)]}
        function = self.function_name(value)
        if function is not None:
            return {"std": function}
        if isinstance(value, BaseException):
            return self._exception(value, depth)
        known = id(value) in self._handles
        handle = self._own(value)
        if known:
            return {"mine": [handle]}
        return {"mine": [handle, self._class(type(value)), self._payload(value, depth)]}

    def _class(self, cls: type) -> dict[str, Any]:
        """A class as that of an object, so with a handle even if it is a standard one."""
        known = id(cls) in self._handles
        handle = self._own(cls)
        if known:
            return {"class": [handle, None]}
        return {"class": [handle, mirror.describe(cls, self._base)]}

    def _base(self, base: type) -> dict[str, Any]:
        return self.encode(base) if mirror.is_simple(base) else self._class(base)

    def _payload(self, value: Any, depth: int) -> Any:
        for kind, read in mirror.IMMUTABLE.items():
            if isinstance(value, kind):
                return {"value": self.encode(read(value), depth + 1)}
        for container in mirror.CONTAINERS:
            if isinstance(value, container):
                return self._container(value, container, depth)
        return None

    def _exception(self, error: BaseException, depth: int) -> dict[str, Any]:
        arguments = []
        for argument in error.args:
            try:
                arguments.append(self.encode(argument, depth + 1))
            except WireError:  # it is shown alone
                arguments.append(repr(argument)[:300])
        cause = error.__cause__
        cause_data = None if cause is None or depth > 9 else self.encode(cause, depth + 1)
        cls = self.encode(type(error), depth + 1)
        handle = None if "std" in cls else self._own(error)
        return {"error": [cls, arguments, handle, cause_data]}

    def _own(self, value: Any) -> int:
        handle = self._handles.get(id(value))
        if handle is None:
            handle = self._handles[id(value)] = len(self._mine)
            self._mine.append(value)
        return handle

    # --- decoding -------------------------------------------------------------------------------

    def decode(self, data: Any) -> Any:
        """Return the value behind JSON data.

        Raises:
            WireError: it is no such data.
        """
        if not isinstance(data, dict):
            if isinstance(data, list):
                raise WireError("a list has no number")
            return data
        try:
            ((tag, content),) = data.items()
            reader = getattr(self, f"_read_{tag}", None)
            return from_data(tag, content) if reader is None else reader(content)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise WireError(f"a value cannot be read: {error}"[:200]) from error

    def _items(self, content: Any) -> list[Any]:
        return [self.decode(item) if isinstance(item, dict) else item for item in content]

    def _read_slice(self, content: Any) -> Any:
        return slice(*self._items(content))

    def _read_tuple(self, content: Any) -> Any:
        return tuple(self._items(content))

    def _read_frozenset(self, content: Any) -> Any:
        return frozenset(self._items(content))

    def _read_view(self, content: Any) -> Any:
        return containers.VIEWS_BY_NAME[content[0]](self._items(content[1]))

    def _read_ref(self, content: Any) -> Any:
        return self._shared[content][0]

    def _read_new(self, content: Any) -> Any:
        number, name, extra, items = content
        kind = containers.KINDS[name]
        if kind is deque:
            value: Any = deque(maxlen=extra)
        else:
            value = defaultdict(self.decode(extra)) if kind is defaultdict else kind()
        return self._fill(value, number, items)

    def _fill(self, value: Any, number: int, items: Any) -> Any:
        self._share(number, value, [])
        containers.write(value, self._items(items))
        self._shared[number][1] = containers.read(value)
        return value

    def _read_yours(self, content: Any) -> Any:
        if content < 0:
            raise WireError("there are no negative handles")
        return self._mine[content]

    def _read_std(self, content: Any) -> Any:
        value = standard_object(content) if self.trusts else standard_type(content)
        if value is None:
            raise WireError(f"nothing is called {content!r:.60}")
        return value

    def _read_class(self, content: Any) -> Any:
        handle, description = content
        if description is not None:
            bases = [self.decode(base) for base in description["bases"]]
            self._theirs[handle] = mirror.make_class(self, handle, description, bases)
        return self._theirs[handle]

    def _read_mine(self, content: Any) -> Any:
        handle, *rest = content
        if rest and handle not in self._theirs:
            cls, payload = self.decode(rest[0]), rest[1]
            if not isinstance(cls, mirror.MirrorMeta):
                raise WireError("the class of an object must come from where it does")
            self._theirs[handle] = self._instance(cls, handle, payload)
        return self._theirs[handle]

    def _instance(self, cls: Any, handle: int, payload: Any) -> Any:
        builtin = next((base for base in cls.__mro__ if base in mirror.BUILTIN), object)
        if builtin in mirror.IMMUTABLE:
            value = self.decode(payload["value"])
            if type(value) is not builtin:
                raise WireError(f"an object that is a {builtin.__name__} holds none")
            made: Any = builtin.__new__(cls, value)
        else:
            made = builtin.__new__(cls)
        object.__setattr__(made, "·own", handle)
        if builtin in containers.EXACT:
            number, _, _, items = payload["new"]
            self._fill(made, number, items)
        return made

    def _read_error(self, content: Any) -> Any:
        cls, arguments, handle, cause = content
        kind = self.decode(cls)
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise WireError("what was raised is no exception")
        arguments = self._items(arguments)
        if handle in self._theirs and isinstance(kind, mirror.MirrorMeta):
            return self._theirs[handle]
        error: Any = kind.__new__(kind, *arguments)
        if isinstance(kind, mirror.MirrorMeta):
            object.__setattr__(error, "·own", int(handle))
            self._theirs[handle] = error
        else:
            with contextlib.suppress(TypeError, ValueError, AttributeError):
                error.__init__(*arguments)
        error.__cause__ = None if cause is None else self.decode(cause)
        return error
