"""Tests that are defined to be found: pytest's functions and classes, unittest's, `check`."""

from __future__ import annotations

import ast
import inspect
import sys
from typing import Any

from rewards.code.errors import Unjudged
from rewards.code.judge import bridge
from rewards.code.loop import install


def run_collected(judge: Any, tree: ast.Module) -> None:
    """Run the tests that `tree` defines and has not run itself; raises where one fails."""
    _hook(judge.module, "setup_module", judge.module)
    for node in tree.body:
        name = getattr(node, "name", "")
        thing = judge.namespace.get(name)
        if isinstance(node, ast.ClassDef) and isinstance(thing, type):
            _run_class(judge, thing)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if name in judge.entered or not inspect.isfunction(inspect.unwrap(thing)):
                continue
            if name.startswith("test") and not hasattr(thing, "fixture_of"):
                _hook(judge.module, "setup_function", thing)
                call(judge, thing)
                _hook(judge.module, "teardown_function", thing)
            elif name == "check":
                _run_check(judge, thing)


def call(judge: Any, function: Any, instance: Any = None) -> None:
    """Call one test function with its fixtures, once for each set of its parameters."""
    for given in getattr(function, "parameter_sets", None) or [{}]:
        fixtures = judge.fixtures(instance)
        fixtures.get_automatic()
        names = [name for name in inspect.signature(function).parameters if name != "self"]
        arguments = {name: given[name] if name in given else fixtures.get(name) for name in names}
        first = () if instance is None else (instance,)
        if "skip" not in given:
            _finish(function(*first, **arguments))
        fixtures.close()


def _finish(result: Any) -> None:
    if inspect.iscoroutine(result):
        install().run(result)


def _run_class(judge: Any, cls: type) -> None:
    unittest = sys.modules.get("unittest")
    if unittest is not None and issubclass(cls, unittest.TestCase):
        return _run_case(unittest, cls)
    if not cls.__name__.startswith("Test"):
        return
    _hook(cls, "setup_class")
    for name, function in inspect.getmembers(cls, inspect.isfunction):
        if name.startswith("test"):
            instance = cls()
            _hook(instance, "setup_method", function)
            call(judge, function, instance)
            _hook(instance, "teardown_method", function)
    _hook(cls, "teardown_class")


def _hook(owner: Any, name: str, function: Any = None) -> None:
    hook = getattr(owner, name, None)
    if hook is not None:
        hook(*[function][: len(inspect.signature(hook).parameters)])


def _run_case(unittest: Any, cls: type) -> None:
    if any(issubclass(base, unittest.IsolatedAsyncioTestCase) for base in cls.__mro__[:-1]):
        install()
    result = unittest.TestResult()
    result.failfast = True
    unittest.defaultTestLoader.loadTestsFromTestCase(cls).run(result)
    for test, trace in (*result.errors, *result.failures):
        # What the program cannot import is its own fault, and came over the bridge.
        if bridge.__file__ not in trace and "ModuleNotFoundError" in trace.strip().splitlines()[-1]:
            raise ModuleNotFoundError(trace.strip().splitlines()[-1])
        raise AssertionError(f"{test}: {trace.strip().splitlines()[-1]}"[:300])
    for test in result.unexpectedSuccesses:
        raise AssertionError(f"{test}: passed, which it should not")


def _run_check(judge: Any, check: Any) -> None:
    """Run HumanEval's `check(candidate)` on the function under test."""
    if len(inspect.signature(check).parameters) != 1:
        return
    name = judge.entry_point
    if not name:
        functions = judge.bridge.request("functions")
        if len(functions) != 1:
            raise judge.bridge.final(
                Unjudged(
                    "check(candidate) is not called, and the program has "
                    f"{len(functions)} functions: end the tests with check(NAME)"
                )
            )
        name = functions[0]
    check(judge.bridge.named(name))
