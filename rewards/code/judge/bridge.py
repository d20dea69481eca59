"""The judge's end of the bridge: what tests may ask of the program, and the program of tests."""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from typing import Any

from rewards.code.bridge import mirror
from rewards.code.bridge.base import Bridge
from rewards.code.bridge.values import standard_name
from rewards.code.bridge.wire import Channel, OverLimit
from rewards.code.errors import Refuted, Unjudged
from rewards.code.judge.trust import Trust
from rewards.code.loop import install

TESTS = "__main__"
"""Name of the module that the tests are."""

_LAST = {StopIteration, StopAsyncIteration}
_OF_GENERATORS = frozenset({"send", "throw", "close"})
_READABLE = frozenset({"__name__", "__qualname__", "__doc__"})


class JudgeBridge(Bridge):
    """The judge's end: answers little, and only about what the tests have handed over."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel, first=2)
        self.trust = Trust(self)
        self.swallowed = ""
        self.handed_over = ""  # a failed assertion of the tests that the program got to see
        self.has_ended = False  # an iterator of the program's, in a `next` of the tests
        self.verdict: Unjudged | Refuted | None = None
        self.last_raised: BaseException | None = None
        self.asked = False  # anything of the program, even by name

    def refuse(self, reason: str) -> None:
        """Say that the tests ask what cannot be done across processes."""
        raise self.final(Unjudged(reason))

    def final(self, verdict: Unjudged | Refuted) -> Unjudged | Refuted:
        """Keep a verdict that stands even if a test catches it."""
        self.verdict = self.verdict or verdict
        return verdict

    def request(self, operation: str, *arguments: Any) -> Any:
        """Ask the program."""
        self.asked = True
        self.collect()
        try:
            return super().request(operation, *arguments)
        except OverLimit as error:
            raise self.final(Unjudged(str(error))) from None

    def encode(self, value: Any, depth: int = 0) -> Any:
        """Return `value` as data for the program."""
        if isinstance(value, types.ModuleType):
            self.refuse(f"tests cannot pass the module {value.__name__} to the program")
        return super().encode(value, depth)

    def _reference(self, value: Any, depth: int) -> dict[str, Any]:
        """Refuse objects of the library that its own code takes apart, as that of a queue does."""
        library = type(value).__module__.partition(".")[0] in sys.stdlib_module_names
        usable = isinstance(value, (type, BaseException)) or any(
            hasattr(value, name) for name in ("__call__", "__next__", "__await__", "write")
        )
        if library and not usable and type(value).__module__ not in (TESTS, "collections"):
            self.refuse(f"tests cannot pass a {type(value).__name__} to the program")
        return super()._reference(value, depth)

    def function_name(self, value: Any) -> str | None:
        """Standard functions go by name; the program has its own."""
        return standard_name(value) if callable(value) else None

    def special(self, target: Any, name: str, *arguments: Any) -> Any:
        """Apply an operator of the program's, as far as it counts."""
        if name == "__await__":
            return self._await(target)
        if name in ("__exit__", "__aexit__") and len(arguments) > 1:
            self._hand_over(arguments[1])
        try:
            return self.trust.special(target, name, *arguments)
        except (Unjudged, Refuted) as verdict:
            raise self.final(verdict) from None

    def get(self, target: Any, name: str) -> Any:
        """Read an attribute of one of the program's objects."""
        try:
            self.trust.attribute(target, name)
        except Unjudged as verdict:
            raise self.final(verdict) from None
        return self.request("get", target, name)

    def call(self, target: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Call one of the program's objects, and remember what a class made of what."""
        result = super().call(target, arguments, options)
        if isinstance(target, mirror.MirrorMeta):
            self.trust.made(result, target, arguments, options)
        return result

    def raised(
        self, error: BaseException, operation: str, arguments: tuple[Any, ...]
    ) -> BaseException:
        """Note an exception of the program's, and one that ends a loop of the tests' silently."""
        if type(error) in _LAST and operation != "step" and arguments[1:2] != ("__next__",):
            self.swallowed = type(error).__name__
        self.last_raised = error
        return error

    def absorb(self, message: dict[str, Any]) -> None:
        """Take over changes, and print what the program printed."""
        super().absorb(message)
        for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
            if name in message:
                stream.write(str(message[name]))

    def handled(self) -> None:
        """Forget what ended something of the tests': they saw to it themselves."""
        self.swallowed, self.has_ended = "", False

    def _hand_over(self, error: Any) -> None:
        """Note a failed assertion of the tests that the program gets to see."""
        if isinstance(error, AssertionError) and error is not self.last_raised:
            self.handed_over = self.handed_over or f"{error}" or "an assertion"

    def caught(self, error: BaseException) -> None:
        """Keep verdicts here."""
        self._hand_over(error)
        if isinstance(error, (Unjudged, Refuted)):
            raise error
        if isinstance(error, OverLimit):
            raise self.final(Unjudged(str(error)))

    def perform(self, operation: str, arguments: list[Any]) -> Any:
        """Answer the program: it may use what it was given, not look into it."""
        target, *rest = arguments
        if operation == "input":
            return input(target)
        if operation == "special" and rest[0] == "__call__":
            operation, rest = "call", [rest[1:], ()]
        if operation == "call":
            if isinstance(target, type) and not self._is_tests(target):
                raise TypeError("this class belongs to the tests")
            return target(*rest[0], **dict(rest[1]))
        if operation == "special" and rest[0] in mirror.SPECIAL:
            return getattr(type(target), rest[0])(target, *rest[1:])
        if operation == "drive":
            return _drive(target)
        if operation == "get" and (rest[0] in _READABLE or self._may_read(target, rest[0])):
            return getattr(target, rest[0])
        if operation == "set" and self._is_tests(type(target)) and not rest[0].startswith("_"):
            return setattr(target, rest[0], rest[1])
        raise AttributeError(f"{type(target).__name__!r} object has no attribute {rest[:1]}")

    def _may_read(self, target: Any, name: str) -> bool:
        if name.startswith("_"):
            return False
        cls = target if isinstance(target, type) else type(target)
        known = cls.__module__.partition(".")[0] in ("io", "_io", "unittest", "collections")
        return known or self._is_tests(cls) or (hasattr(cls, "send") and name in _OF_GENERATORS)

    def _is_tests(self, cls: type) -> bool:
        return cls.__module__ == TESTS or issubclass(cls, Exception)

    def _await(self, target: Any) -> Any:
        """Await something of the program's, which runs on the program's own loop meanwhile."""
        task = self.request("task", target)
        done = False
        try:
            yield
            while not (answer := self.request("step", task)):
                yield
            done = True
            return answer[0]
        finally:
            if not done:
                with contextlib.suppress(Exception):
                    self.request("cancel", task)

    def named(self, name: str) -> Any:
        """Return what the program calls `name`.

        Raises:
            NameError: the program has no such name, or it is no module of the standard library.
        """
        kind, *value = self.request("name", name)
        if kind == "missing":
            raise NameError(f"the program does not define {name!r}")
        if kind == "module":
            if str(value[0]).partition(".")[0] not in sys.stdlib_module_names:
                raise NameError(f"{name!r} is not a standard module")
            return importlib.import_module(str(value[0]))
        if isinstance(value[0], mirror.MirrorMeta):
            self.trust.tested.add(value[0])
        return value[0]


def _drive(awaitable: Any) -> Any:
    """Run a coroutine of the tests to its end for the program, which waits for it."""
    asyncio = install()
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(awaitable)
    finally:
        loop.close()
        asyncio._set_running_loop(running)


class Solution(types.ModuleType):
    """The program as a module that tests import."""

    def __init__(self, bridge: JudgeBridge) -> None:
        super().__init__("solution")
        self.__dict__["·bridge"] = bridge

    def __getattr__(self, name: str) -> Any:
        bridge = self.__dict__["·bridge"]
        if name == "__all__":
            return bridge.request("names")
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return bridge.named(name)
        except NameError as error:
            raise AttributeError(str(error)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("__"):
            self.__dict__["·bridge"].request("bind", name, value)

    def __delattr__(self, name: str) -> None:
        self.__dict__.pop(name, None)
