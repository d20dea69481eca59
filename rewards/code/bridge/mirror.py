"""Classes that stand here for the classes of another process.

A mirror has the name, the bases and the operators of what it stands for, so that `isinstance`,
`except`, `with`, `for` and `+` mean what they mean on the object itself; each goes to the other
process as a request. Of an object that is also a number, a text or a container, the built-in part
is here, and its built-in operators are the interpreter's own.
"""

from __future__ import annotations

import abc
import inspect
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

from rewards.code.bridge.values import standard_name, standard_type
from rewards.code.bridge.wire import WireError

_UNARY = (
    "eq ne lt le gt ge hash bool len iter next getitem setitem delitem contains reversed call "
    "str repr format bytes int float complex index round trunc floor ceil abs neg pos invert "
    "enter exit await aiter anext aenter aexit fspath missing instancecheck subclasscheck"
)
BINARY = "add sub mul truediv floordiv mod divmod pow matmul lshift rshift and or xor"
SPECIAL = tuple(
    f"__{name}__"
    for name in _UNARY.split() + [p + name for name in BINARY.split() for p in ("", "r", "i")]
)
"""Operators that are forwarded where a class defines them."""

IMMUTABLE: dict[type, Callable[[Any], Any]] = {
    int: lambda value: int.__add__(value, 0),
    float: lambda value: float.__mul__(value, 1.0),
    complex: lambda value: complex.__mul__(value, 1.0),
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    tuple: lambda value: tuple.__getitem__(value, slice(None)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}
"""How the built-in part of an object of a subclass is read."""

CONTAINERS = (Counter, OrderedDict, defaultdict, dict, list, set, deque, bytearray)

BUILTIN = frozenset({*IMMUTABLE, *CONTAINERS})

HANDLE, _BRIDGE, _CHECKS = (
    "·handle",
    "·bridge",
    "·checks",
)  # no names, so no program has attributes called so
_NATIVE = frozenset({"__traceback__", "__context__", "__cause__", "__suppress_context__", "args"})
_MAX_NAMES = 2000


class MirrorMeta(type):
    """The class of the mirrors of classes."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        if _BRIDGE not in namespace:
            bridge = next(vars(base)[_BRIDGE] for base in bases if _BRIDGE in vars(base))
            bridge.refuse(f"tests cannot derive a class of their own ({name}) from the program's")
        return type.__new__(cls, name, bases, namespace)

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        return bridge_of(cls).call(cls, arguments, options)

    def __getattr__(cls, name: str) -> Any:
        return bridge_of(cls).get(cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        if name in ("__abstractmethods__", "__annotations__"):  # ABCMeta.register, typing
            return type.__setattr__(cls, name, value)
        bridge_of(cls).request("set", cls, name, value)

    def __iter__(cls) -> Any:
        return bridge_of(cls).special(cls, "__iter__")

    def __len__(cls) -> int:
        return int(bridge_of(cls).special(cls, "__len__"))

    def __bool__(cls) -> bool:
        return True

    def __getitem__(cls, key: Any) -> Any:
        return bridge_of(cls).special(cls, "__getitem__", key)

    def __contains__(cls, item: Any) -> bool:
        return bool(bridge_of(cls).special(cls, "__contains__", item))

    def __instancecheck__(cls, instance: Any) -> bool:
        return type.__instancecheck__(cls, instance) or _says(cls, instance)


def _says(cls: Any, instance: Any) -> bool:
    """Ask a class that says itself what is an instance of it, as one of a Protocol does."""
    bridge = bridge_of(cls)
    if not type.__getattribute__(cls, _CHECKS):
        return False
    says = bool(bridge.special(cls, "__instancecheck__", instance))
    if says and not bridge.trusts:
        bridge.refuse("the program's own class decides what is an instance of it")
    return says


class _Attribute:
    """A name that the class on the other side defines."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: Any) -> Any:
        target = owner if instance is None else instance
        return bridge_of(target).get(target, self._name)

    def __set__(self, instance: Any, value: Any) -> None:
        bridge_of(instance).request("set", instance, self._name, value)


def _get(self: Any, name: str) -> Any:
    return bridge_of(self).get(self, name)


def _set(self: Any, name: str, value: Any) -> None:
    if name in _NATIVE and isinstance(self, BaseException):
        return BaseException.__setattr__(self, name, value)
    bridge_of(self).request("set", self, name, value)


def _delete(self: Any, name: str) -> None:
    bridge_of(self).request("del", self, name)


_BASICS = {
    "__getattr__": _get,
    "__setattr__": _set,
    "__delattr__": _delete,
    "__dict__": property(lambda self: bridge_of(self).get(self, "__dict__")),
    "__dir__": lambda self: bridge_of(self).request("dir", self),
    "__copy__": lambda self: bridge_of(self).request("copy", self),
    "__deepcopy__": lambda self, memo: bridge_of(self).request("deepcopy", self),
}
_DOC = property(lambda self: bridge_of(self).get(self, "__doc__"))


def bridge_of(mirror: Any) -> Any:
    """Return the bridge that `mirror` came over."""
    if isinstance(mirror, MirrorMeta):
        return type.__getattribute__(mirror, _BRIDGE)
    return object.__getattribute__(mirror, _BRIDGE)


def handle_of(value: Any) -> int | None:
    """Return the handle of a mirror, of an object or of a class; `None` if `value` is neither."""
    kind = type(value)
    if kind is MirrorMeta:
        return int(type.__getattribute__(value, HANDLE))
    if type(kind) is MirrorMeta:
        return int(object.__getattribute__(value, "·own"))
    return None


def root(bridge: Any) -> Any:
    """Return the class that all mirrors of one bridge derive from."""
    namespace = {"__slots__": (), _BRIDGE: bridge, HANDLE: -1, _CHECKS: False}
    return type.__new__(MirrorMeta, "object", (), namespace)


def describe(cls: Any, encode: Callable[[Any], Any]) -> dict[str, Any]:
    """Return what the other side must know of `cls` to make its mirror."""
    metaclass: Any = type(cls)
    builtin = next((base for base in cls.__mro__ if base in BUILTIN), object)
    special = [
        name for name in SPECIAL if getattr(cls, name, None) is not getattr(builtin, name, None)
    ]
    own = [name for name in vars(cls) if isinstance(name, str) and not name.startswith("__")]
    return {
        "name": str(cls.__name__),
        "module": str(cls.__module__),
        "doc": cls.__doc__[:1000] if isinstance(cls.__doc__, str) else None,
        "bases": [encode(base) for base in cls.__bases__],
        "special": special,
        "own": own[:_MAX_NAMES],
        "hashable": cls.__hash__ is not None,
        "describes": hasattr(cls, "__set__") or hasattr(cls, "__set_name__"),
        "checks": metaclass.__instancecheck__ is not type.__instancecheck__,
        "std": standard_name(cls),
    }


def make_class(bridge: Any, handle: int, description: dict[str, Any], bases: list[Any]) -> Any:
    """Return the mirror of a class.

    Raises:
        WireError: the description makes no class.
    """
    parents = [base for base in bases if _may_be_base(base)]
    if not any(isinstance(base, MirrorMeta) for base in parents):
        parents.insert(0, bridge.root)
    special = [name for name in description["special"] if name in SPECIAL]
    namespace = _BASICS | {_BRIDGE: bridge, HANDLE: handle, "__doc__": description["doc"]}
    namespace[_CHECKS] = bool(description["checks"])
    if description["describes"]:
        namespace["__set_name__"] = _refuse_to_describe
    # An operator among the attributes would go round what is known about operators.
    own = [name for name in description["own"][:_MAX_NAMES] if not name.startswith(("__", "·"))]
    namespace |= {name: _Attribute(name) for name in own}
    namespace |= {name: _forward(name) for name in special}
    if not description["hashable"]:
        namespace["__hash__"] = None
    elif "__hash__" not in special and "__eq__" in special:
        builtin = next((b for p in parents for b in p.__mro__ if b in BUILTIN), object)
        namespace["__hash__"] = builtin.__hash__
    namespace |= _kind_of(description["std"])
    namespace["__module__"] = str(description["module"])
    try:
        cls = type.__new__(MirrorMeta, str(description["name"]), tuple(parents), namespace)
    except (TypeError, ValueError) as error:
        raise WireError(f"no class: {error}") from error
    for base in bases:
        if isinstance(base, abc.ABCMeta):
            abc.ABCMeta.register(base, cls)  # type: ignore[arg-type]
    return cls


def is_simple(base: type) -> bool:
    """Whether a base class is the same class on both sides."""
    return base is object or isinstance(base, abc.ABCMeta) or _may_be_base(base)


def _may_be_base(base: Any) -> bool:
    if isinstance(base, MirrorMeta):
        return True
    return base in BUILTIN or (isinstance(base, type) and issubclass(base, BaseException))


def _kind_of(name: str | None) -> dict[str, Any]:
    """Functions, generators and their like pass `isinstance` as what they are."""
    kind = standard_type(name) if name else None
    if kind is None or kind in BUILTIN:
        return {}
    # The documentation is the function's, not that of the class of functions.
    parts: dict[str, Any] = {"__doc__": _DOC}
    if not issubclass(kind, BaseException) and not inspect.iscoroutine(kind):
        parts["__class__"] = property(lambda self: kind)
    return parts


def _refuse_to_describe(self: Any, owner: Any, name: str) -> None:
    """Of a descriptor: what it does to an object of the other side cannot cross."""
    bridge_of(self).refuse(f"a descriptor of the program's describes {name!r} of the tests' own")


def _forward(name: str) -> Any:
    def special(self: Any, *arguments: Any, **options: Any) -> Any:
        if name == "__call__":
            return bridge_of(self).call(self, arguments, options)
        return bridge_of(self).special(self, name, *arguments)

    special.__name__ = name
    return special
