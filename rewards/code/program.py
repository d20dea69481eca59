"""The process that holds the program under test and answers the judge's requests.

Hostile from its first line on. It runs confined; whatever it does to itself, the tests are not
here, and what it sends is read as data.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import dataclasses
import io
import operator
import random
import sys
import types
from typing import Any

from rewards.code.bridge.base import Bridge
from rewards.code.bridge.wire import Channel
from rewards.code.loop import Loop, install
from rewards.code.script import prepare

_OF_CLASSES: dict[str, Any] = {
    "__getitem__": operator.getitem,
    "__iter__": iter,
    "__len__": len,
    "__contains__": operator.contains,
    "__instancecheck__": lambda cls, instance: isinstance(instance, cls),
}
_MAX_OUTPUT = 1 << 18
_DATACLASS = {
    name: getattr(dataclasses, name) for name in ("asdict", "astuple", "replace", "fields")
}


def serve(channel: Channel, source: str, preamble: str) -> None:
    """Execute `source` after `preamble`, then answer requests until the judge hangs up."""
    random.seed(0)
    module = types.ModuleType("solution")  # not "__main__": what waits for input is not tested
    sys.modules["solution"] = module
    prepare()
    bridge = ProgramBridge(channel, module)
    # The answer to a request that was never made: how the program began.
    bridge.serve({"op": "begin", "args": [source, preamble]})
    while True:
        bridge.result("serve")


class ProgramBridge(Bridge):
    """The program's end: answers whatever it is asked."""

    trusts = True

    def __init__(self, channel: Channel, module: types.ModuleType) -> None:
        super().__init__(channel, first=1)
        self._module = module
        self._loop = Loop()
        self._preloaded = frozenset(sys.modules)
        sys.stdout, sys.stderr = _Output(), _Output()
        builtins.input = self._input

    def perform(self, operation: str, arguments: list[Any]) -> Any:
        """Answer a request of the judge."""
        return getattr(self, f"_do_{operation}")(*arguments)

    def parts(self) -> dict[str, Any]:
        """Return what a message carries: changes, and what was printed since the last."""
        parts = super().parts()
        for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
            if isinstance(stream, _Output) and (printed := stream.take()):
                parts[name] = printed
        return parts

    def knows(self, name: str) -> bool:
        """Whether the judge, which began as this process did, has the module of a type."""
        module = name.partition(":")[0]
        return module in self._preloaded and not module.startswith("unittest")

    def special(self, target: Any, name: str, *arguments: Any) -> Any:
        """Apply an operator of one of the tests' objects."""
        if name == "__await__":
            return _finished(self.request("drive", target))
        return super().special(target, name, *arguments)

    def _input(self, prompt: object = "") -> str:
        return str(self.request("input", str(prompt)))

    def _do_begin(self, source: str, preamble: str) -> None:
        exec(compile(preamble, "preamble.py", "exec", dont_inherit=True), self._module.__dict__)
        if "asyncio" in source:
            install()
        code = compile(source, "solution.py", "exec", dont_inherit=True)
        exec(code, self._module.__dict__)

    def _do_name(self, name: str) -> Any:
        if name not in self._module.__dict__:
            return ("missing",)
        value = self._module.__dict__[name]
        if isinstance(value, types.ModuleType):
            return ("module", value.__name__)
        return ("value", value)

    def _do_names(self) -> list[str]:
        names = self._module.__dict__.get("__all__")
        if names is not None:
            return [str(name) for name in names]
        return [name for name in self._module.__dict__ if not name.startswith("_")]

    def _do_bind(self, name: str, value: Any) -> None:
        self._module.__dict__[name] = value

    def _do_functions(self) -> list[str]:
        """Return the functions that the program itself defines at its top, in order."""
        return [
            name
            for name, value in self._module.__dict__.items()
            if isinstance(value, types.FunctionType) and value.__module__ == "solution"
        ]

    def _do_call(self, target: Any, arguments: Any, options: Any) -> Any:
        return target(*arguments, **dict(options))

    def _do_get(self, target: Any, name: str) -> Any:
        return getattr(target, name)

    def _do_set(self, target: Any, name: str, value: Any) -> None:
        setattr(target, name, value)

    def _do_del(self, target: Any, name: str) -> None:
        delattr(target, name)

    def _do_special(self, target: Any, name: str, *arguments: Any) -> Any:
        if isinstance(target, type) and name in _OF_CLASSES:
            return _OF_CLASSES[name](target, *arguments)
        return getattr(type(target), name)(target, *arguments)

    def _do_dir(self, target: Any) -> list[str]:
        return dir(target)

    def _do_copy(self, target: Any) -> Any:
        return copy.copy(target)

    def _do_deepcopy(self, target: Any) -> Any:
        return copy.deepcopy(target)

    def _do_dataclass(self, name: str, target: Any, options: Any) -> Any:
        return _DATACLASS[name](target, **dict(options))

    def _do_fields(self, target: Any) -> Any:
        """Return the fields of an object as pairs, `None` for one that has no fields at all."""
        found: dict[str, Any] = {}
        has_fields = False
        for cls in type(target).__mro__:
            for name, part in vars(cls).items():
                # Read where the interpreter keeps them: a class may define what it shows of them.
                if name == "__dict__" and isinstance(part, types.GetSetDescriptorType):
                    found |= part.__get__(target)
                elif isinstance(part, types.MemberDescriptorType) and cls.__module__ == "solution":
                    with contextlib.suppress(AttributeError):  # a slot that is empty
                        found[name] = part.__get__(target)
                else:
                    continue
                has_fields = True
        # A function has fields too, but they are not what it is.
        is_own = type(target).__module__ == "solution"
        return tuple(found.items()) if has_fields and (is_own or not callable(target)) else None

    def _do_task(self, target: Any) -> Any:
        return self._loop.task(target)

    def _do_step(self, task: Any) -> Any:
        return self._loop.step(task)

    def _do_cancel(self, task: Any) -> None:
        task.cancel()


class _Output(io.StringIO):
    """What the program prints, kept up to a limit until the next message."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self.tell() < _MAX_OUTPUT:
            super().write(text[:_MAX_OUTPUT])
        return len(text)

    def take(self) -> str:
        text = self.getvalue()
        if text:
            self.seek(0)
            self.truncate()
        return text


def _finished(value: Any) -> Any:
    yield from ()
    return value
