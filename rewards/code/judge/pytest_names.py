"""The names of pytest that tests of a function use, without pytest: no site-packages are here."""

from __future__ import annotations

import contextlib
import inspect
import io
import math
import pathlib
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from rewards.code.bridge import mirror
from rewards.code.errors import Unjudged


def module(judge: Any) -> types.ModuleType:
    """Return a module that stands for pytest in the tests of `judge`."""
    made = _Pytest("pytest")
    made.__dict__.update(
        {"·judge": judge, "raises": _raises(judge), "approx": Approx, "mark": _Mark(judge),
         "fixture": _fixture(judge), "param": _param, "fail": fail, "main": lambda *args: 0}
    )  # fmt: skip
    judge.definitions, judge.autouse = {}, []
    judge.fixtures = lambda instance: Fixtures(judge, instance)
    return made


class _Pytest(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        bridge = self.__dict__["·judge"].bridge
        raise bridge.final(Unjudged(f"the tests use pytest.{name}, which the sandbox lacks"))


def fail(reason: str = "", pytrace: bool = True) -> None:
    """Fail the test."""
    raise AssertionError(reason)


class _Caught:
    """What `raises` gives: the exception, once there is one."""

    value: Any = None

    @property
    def type(self) -> Any:
        return type(self.value)

    def match(self, pattern: str) -> bool:
        assert re.search(pattern, str(self.value)), f"{self.value} does not match {pattern!r}"
        return True


def _raises(judge: Any) -> Any:
    @contextlib.contextmanager
    def context(expected: Any, match: str | None) -> Iterator[_Caught]:
        caught = _Caught()
        try:
            yield caught
        except expected as error:
            judge.bridge.handled()
            caught.value = error
        if caught.value is None:
            raise AssertionError(f"did not raise {expected}")
        if match is not None:
            caught.match(match)

    def raises(expected: Any, *arguments: Any, match: str | None = None, **options: Any) -> Any:
        if not arguments:
            return context(expected, match)
        with context(expected, match) as caught:
            arguments[0](*arguments[1:], **options)
        judge._checked()
        return caught

    return raises


class Approx:
    """A number that equals what is near it; lists and dictionaries, item by item."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, expected: Any, rel: Any = None, abs: Any = None, nan_ok: bool = False
    ) -> None:
        self.expected, self._rel, self._abs, self._nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, actual: Any) -> bool:
        return self._near(self.expected, actual)

    def _near(self, expected: Any, actual: Any) -> bool:
        number: Any = (int, float, complex, Decimal, Fraction)
        if isinstance(expected, Mapping):
            return expected.keys() == actual.keys() and all(
                self._near(expected[key], actual[key]) for key in expected
            )
        if isinstance(expected, Sequence) and not isinstance(expected, (str, bytes)):
            return len(expected) == len(actual) and all(map(self._near, expected, actual))
        if not isinstance(expected, number):
            return bool(expected == actual)
        if mirror.handle_of(actual) is not None:
            actual = float(actual)
        if not isinstance(actual, number):
            return False
        if expected != expected or actual != actual:
            return self._nan_ok and expected != expected and actual != actual
        if expected == actual or any(map(_is_infinite, (expected, actual))):
            return bool(expected == actual)
        relative = 1e-6 if self._rel is None and self._abs is None else self._rel or 0
        allowed = max(float(relative) * float(abs(expected)), self._abs or 0, 1e-12)
        if isinstance(expected, Decimal) or isinstance(actual, Decimal):
            expected, actual = Fraction(expected), Fraction(actual)
        return bool(abs(expected - actual) <= allowed)

    def __repr__(self) -> str:
        return f"approx({self.expected!r})"


def _is_infinite(value: Any) -> bool:
    return isinstance(value, (float, Decimal)) and math.isinf(value)


class _Mark:
    """`pytest.mark`: sets of parameters count, tests that are skipped do not, the rest is names."""

    def __init__(self, judge: Any) -> None:
        self._judge = judge

    def __getattr__(self, name: str) -> Any:
        if name in ("skip", "skipif", "xfail"):
            return self._without(name)
        return lambda *given, **_: given[0] if given and inspect.isfunction(given[0]) else _same

    def _without(self, name: str) -> Any:
        def mark(*given: Any, **_: Any) -> Any:
            if given and inspect.isfunction(given[0]):
                return _skipped(given[0])
            return _skipped if name != "skipif" or any(given) else _same

        return mark

    def parametrize(self, names: Any, rows: Any, **_: Any) -> Any:
        columns = names.replace(",", " ").split() if isinstance(names, str) else list(names)

        def decorate(function: Any) -> Any:
            sets = [
                dict(zip(columns, row if len(columns) > 1 else _alone(row), strict=True))
                for row in rows
            ]
            before = getattr(function, "parameter_sets", None) or [{}]
            function.parameter_sets = [old | new for old in before for new in sets]
            return function

        return decorate


class _Row(tuple[Any, ...]):
    __slots__ = ()


def _param(*values: Any, **_: Any) -> Any:
    return _Row(values)


def _alone(row: Any) -> tuple[Any, ...]:
    return tuple(row) if isinstance(row, _Row) else (row,)


def _same(thing: Any) -> Any:
    return thing


def _skipped(function: Any) -> Any:
    function.parameter_sets = [{"skip": True}]
    return function


def _fixture(judge: Any) -> Any:
    def fixture(function: Any = None, **options: Any) -> Any:
        def decorate(inner: Any) -> Any:
            judge.definitions[options.get("name") or inner.__name__] = inner
            inner.fixture_of = judge
            if options.get("autouse"):
                judge.autouse.append(inner)
            return inner

        return decorate if function is None else decorate(function)

    return fixture


class Fixtures:
    """The fixtures of one test, made when they are asked for."""

    def __init__(self, judge: Any, instance: Any) -> None:
        self._judge, self._instance = judge, instance
        self._made: dict[str, Any] = {}
        self._open: list[Any] = []
        self._stack = contextlib.ExitStack()

    def get(self, name: str) -> Any:
        """Return the value of a fixture."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def get_automatic(self) -> None:
        """Make the fixtures that nobody has to ask for: of the module, and of the class."""
        for function in self._judge.autouse:
            owner = function.__qualname__.rpartition(".")[0]
            if owner in ("", type(self._instance).__qualname__):
                self.get(function.__name__)

    def close(self) -> None:
        """Run what the fixtures do after the test."""
        for generator in reversed(self._open):
            next(generator, None)
        self._stack.close()

    def _make(self, name: str) -> Any:
        own = {"capsys": self._capsys, "tmp_path": pathlib.Path, "monkeypatch": self._monkeypatch}
        function = self._judge.definitions.get(name)
        if function is None and name in own:
            return own[name]()
        if function is None:
            raise self._judge.bridge.final(Unjudged(f"the tests use the unknown fixture {name!r}"))
        names = list(inspect.signature(function).parameters)
        values = [self._instance if one == "self" else self.get(one) for one in names]
        result = function(*values)
        if inspect.isgenerator(result):
            self._open.append(result)
            return next(result)
        return result

    def _capsys(self) -> Any:
        output = self._stack.enter_context(contextlib.redirect_stdout(io.StringIO()))

        def readouterr() -> Any:
            text = output.getvalue()
            output.seek(0)
            output.truncate()
            return _Output(text)

        return types.SimpleNamespace(readouterr=readouterr)

    def _monkeypatch(self) -> Any:
        from unittest import mock

        def set_attribute(target: Any, name: Any, value: Any = mock.DEFAULT, **_: Any) -> None:
            if value is mock.DEFAULT:
                self._stack.enter_context(mock.patch(target, name))
            else:
                self._stack.enter_context(mock.patch.object(target, name, value, create=True))

        return types.SimpleNamespace(setattr=set_attribute)


class _Output(tuple[str, str]):
    """What was printed."""

    __slots__ = ()

    def __new__(cls, out: str) -> _Output:
        return super().__new__(cls, (out, ""))

    @property
    def out(self) -> str:
        return self[0]

    @property
    def err(self) -> str:
        return self[1]
