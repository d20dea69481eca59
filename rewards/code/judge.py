"""The process that holds the tests and asks the program under test for values.

Tests run here, against proxies, so that a program cannot pass them by ending early, by patching
the interpreter, or by objects that equal everything.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from typing import Any

from rewards.code.wire import Channel, WireError, decode, encode

_PROGRAM: Any = None


class _Program:
    """The judge's end of the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.answer(self._channel.receive())

    def ask(self, operation: str, target: Any, *arguments: Any) -> Any:
        data = [encode(argument, _handle_of) for argument in arguments]
        self._channel.send([operation, target, *data])
        return self.answer(self._channel.receive())

    def named(self, name: str) -> Any:
        """Return what the program calls `name`: a value, a proxy, or a standard module."""
        self._channel.send(["name", name])
        reply = self._channel.receive()
        if "missing" in reply:
            raise NameError(f"the program does not define {name!r}")
        if "module" in reply:
            module = str(reply["module"])
            if module.partition(".")[0] not in sys.stdlib_module_names:
                raise NameError(f"{name!r} is not a standard module")
            return importlib.import_module(module)
        return self.answer(reply)

    def answer(self, reply: Any) -> Any:
        if "raised" in reply:
            kind = getattr(builtins, str(reply["raised"]), None)
            is_error = isinstance(kind, type) and issubclass(kind, Exception)
            raise _Raised(str(reply["raised"]), str(reply["message"]), kind if is_error else None)
        return decode(reply["value"], _Proxy)


class _Raised(Exception):
    """The program raised; `kind` is the built-in exception class of that name, if it is one."""

    def __init__(self, name: str, message: str, kind: Any) -> None:
        super().__init__(f"{name}: {message}")
        self.kind = kind
        self.message = message


def _request(operation: str, target: int, *arguments: Any) -> Any:
    try:
        return _PROGRAM.ask(operation, target, *arguments)
    except _Raised as error:
        # Tests may expect an exception; they get the built-in one of the same name.
        if error.kind is not None:
            raise error.kind(error.message) from None
        raise


class _Proxy:
    """An object that stays in the program."""

    __slots__ = ("_handle",)
    __hash__ = object.__hash__

    def __init__(self, handle: int) -> None:
        object.__setattr__(self, "_handle", handle)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _request("call", self._handle, list(arguments), options)

    def __getattr__(self, name: str) -> Any:
        return _request("get", self._handle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _request("set", self._handle, name, value)

    def __iter__(self) -> Any:
        return iter(_request("list", self._handle))

    def __len__(self) -> int:
        return int(_request("len", self._handle))

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: Any) -> Any:
        return _request("item", self._handle, key)

    def __str__(self) -> str:
        return str(_request("str", self._handle))


def _handle_of(value: Any) -> int:
    if isinstance(value, _Proxy):
        return int(object.__getattribute__(value, "_handle"))
    raise WireError(f"tests cannot pass a {type(value).__name__} to the program")


def run_tests(
    channel: Channel, *, prelude: str, tests: list[str], entry_point: str
) -> dict[str, Any]:
    """Run `tests` in order up to the first that fails; return how it went.

    Args:
        channel: to the process that serves the program.
        prelude: trusted code that runs before the tests, in their namespace.
        tests: test programs, each of which raises if it fails.
        entry_point: a name the program must define even if the prelude does too, or "".
    """
    global _PROGRAM
    try:
        trees = [ast.parse(code) for code in (prelude, *tests)]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"outcome": "bad tests", "detail": f"the tests cannot be parsed: {error}"[:300]}
    try:
        _PROGRAM = _Program(channel)
    except _Raised as error:
        outcome = "syntax" if error.kind and issubclass(error.kind, SyntaxError) else "failed"
        return {"outcome": outcome, "detail": f"the program raised {error}"}
    except WireError:
        return {"outcome": "failed", "detail": "the program ended before the tests did"}
    namespace: dict[str, Any] = {"__name__": "tests"}
    for number, tree in enumerate(trees):
        detail = _run(tree, namespace, entry_point)
        if detail is not None:
            where = f"test {number} of {len(tests)}" if number else "test set-up"
            return {
                "outcome": "failed",
                "detail": f"{where}: {detail}",
                "passed": max(0, number - 1),
            }
    return {"outcome": "passed", "detail": f"{len(tests)} of {len(tests)} tests passed"}


def _run(tree: ast.Module, namespace: dict[str, Any], entry_point: str) -> str | None:
    """Execute one test program; return what went wrong, if anything did."""
    try:
        _bind_names(tree, namespace, entry_point)
        exec(compile(tree, "tests.py", "exec"), namespace)
    except WireError as error:
        return f"{error}" if "pass a" in str(error) else "the program ended before the test did"
    except AssertionError:
        return f"failed: {ast.unparse(tree)[-120:]}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    return None


def _bind_names(tree: ast.Module, namespace: dict[str, Any], entry_point: str) -> None:
    """Bind the names a test takes from the program.

    Built-ins stay the judge's own, lest a program pass `abs(f(x) - 1) < eps` with its own `abs`;
    only a test that uses nothing else ("assert sum(2, 3) == 1") means the program's function.
    """
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    made = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    }
    made |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    made |= {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    made |= {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    wanted = used - made - namespace.keys()
    own = {name for name in wanted if not hasattr(builtins, name)}
    if entry_point:
        own |= {entry_point} & used
    elif not own and not namespace.keys() & used:
        own = wanted
    for name in sorted(own):
        try:
            namespace[name] = _PROGRAM.named(name)
        except NameError:
            if not hasattr(builtins, name):
                raise
