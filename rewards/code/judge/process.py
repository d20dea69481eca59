"""The process that holds the tests and asks the program under test for values.

Tests run here, against mirrors of the program's objects, so that a program cannot pass them by
ending early, by patching the interpreter, or by objects that equal everything.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
import types
from typing import Any

from rewards.code.bridge import mirror
from rewards.code.bridge.wire import Channel, WireError
from rewards.code.errors import Refuted, Unjudged
from rewards.code.imports import SOLUTION_NAMES
from rewards.code.judge import checks, pytest_names
from rewards.code.judge.bridge import TESTS, JudgeBridge, Solution
from rewards.code.judge.collect import run_collected
from rewards.code.judge.libraries import teach

_COMPARERS = {"isclose": ("math", "isclose"), "approx": ("pytest", "approx")}


class Judge:
    """Runs test programs in order, in one namespace.

    Args:
        bridge: to the program, which has begun.
        entry_point: a name the program must define even if the prelude does too, or "".
    """

    def __init__(self, bridge: JudgeBridge, entry_point: str) -> None:
        self.bridge = bridge
        self.entry_point = entry_point
        self.num_checks = 0
        self.failed_check = ""  # one that the tests themselves caught
        self.entered: set[str] = set()
        # "__main__", so that tests that only a script runs are run.
        self.module = types.ModuleType(TESTS)
        self.namespace = self.module.__dict__
        self.namespace |= {
            checks.CHECKED: self._checked,
            checks.HANDLED: self._handled,
            checks.ENTERED: self.entered.add,
            "__builtins__": vars(builtins) | {"next": self._next},
        }
        sys.modules[TESTS] = self.module
        for name in SOLUTION_NAMES:
            sys.modules[name] = Solution(bridge)
        sys.modules["pytest"] = pytest_names.module(self)

    def run(self, code: str, tree: ast.Module) -> None:
        """Run one test program and what it defines to be run; raises where it fails."""
        teach(code, self.bridge)
        self._bind_names(code, tree)
        exec(compile(tree, "tests.py", "exec", dont_inherit=True), self.namespace)
        run_collected(self, tree)

    def _checked(self) -> None:
        self.num_checks += 1
        if self.bridge.swallowed:
            raise self.bridge.final(
                Refuted(f"the program raised {self.bridge.swallowed}, which ended a loop early")
            )

    def _next(self, iterator: Any, *default: Any) -> Any:
        """Be the `next` of the tests, and note the end that may end a loop of theirs, too."""
        try:
            return next(iterator, *default)
        except StopIteration:
            self.bridge.has_ended = mirror.handle_of(iterator) is not None
            raise

    def _handled(self, is_check: bool) -> None:
        self.bridge.handled()
        error = sys.exception()
        if isinstance(error, AssertionError) and error is not self.bridge.last_raised:
            self.failed_check = self.failed_check or f"{error}" or "an assertion"
            self.bridge.handed_over = ""
        else:
            self.num_checks += is_check

    def _bind_names(self, code: str, tree: ast.Module) -> None:
        """Bind the names a test takes from the program.

        Built-ins and modules stay the judge's own, lest a program pass `abs(f(x) - 1) < eps` with
        its own `abs`; only a test that uses nothing else ("assert sum(2, 3) == 1") means the
        program's function.
        """
        free, used = checks.free_names(code)
        wanted = free - self.namespace.keys()
        own = {name for name in wanted if not hasattr(builtins, name)}
        if self.entry_point:
            own |= {self.entry_point} & used
        elif not own and not self.namespace.keys() & used:
            own = wanted
        for name in sorted(own):
            self._bind(name, tree, alone=len(own) == 1)

    def _bind(self, name: str, tree: ast.Module, *, alone: bool) -> None:
        if name in sys.stdlib_module_names and checks.attribute_only(tree, name):
            self.namespace[name] = importlib.import_module(name)
        elif name in _COMPARERS and not alone:
            module, attribute = _COMPARERS[name]
            self.namespace[name] = getattr(importlib.import_module(module), attribute)
        else:
            try:
                self.namespace[name] = self.bridge.named(name)
            except NameError:
                if not hasattr(builtins, name):
                    raise


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
    try:
        trees = [checks.instrument(ast.parse(code)) for code in (prelude, *tests)]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"outcome": "bad tests", "detail": f"the tests cannot be parsed: {error}"[:300]}
    if not any(found for _, found in trees):
        return {"outcome": "bad tests", "detail": "the tests check nothing"}
    bridge = JudgeBridge(channel)
    try:
        bridge.result("begin")
    except WireError:
        return {"outcome": "failed", "detail": "the program ended before the tests did"}
    except BaseException as error:
        outcome = "syntax" if isinstance(error, SyntaxError) else "failed"
        detail = f"the program raised {type(error).__name__}: {error}"[:300]
        return {"outcome": outcome, "detail": detail}
    judge = Judge(bridge, entry_point)
    for number, code in enumerate((prelude, *tests)):
        if not code.strip():
            continue
        found = _run(judge, code, trees[number][0])
        if found is not None:
            where = f"test {number} of {len(tests)}" if number else "test set-up"
            return {"outcome": found[0], "detail": f"{where}: {found[1]}"}
    return _passed(judge, len(tests))


def _passed(judge: Judge, num_tests: int) -> dict[str, Any]:
    try:
        judge.bridge.trust.finish()
    except Refuted as error:
        return {"outcome": "failed", "detail": str(error)}
    except BaseException as error:
        return {"outcome": "unjudged", "detail": f"the checks of == failed: {error}"[:300]}
    if judge.bridge.has_ended:
        detail = (
            "an iterator of the program's ended in next(), and maybe a loop of the tests with it"
        )
        return {"outcome": "unjudged", "detail": detail}
    if judge.bridge.handed_over:
        detail = f"a check failed inside the program, which hid it: {judge.bridge.handed_over}"
        return {"outcome": "unjudged", "detail": detail[:300]}
    if not judge.num_checks and judge.failed_check:
        detail = f"the only check failed, and the tests caught it: {judge.failed_check}"
        return {"outcome": "failed", "detail": detail[:300]}
    if not judge.num_checks or not judge.bridge.asked:
        return {"outcome": "bad tests", "detail": "the tests ran, but checked nothing"}
    return {"outcome": "passed", "detail": f"{num_tests} of {num_tests} tests passed"}


def _run(judge: Judge, code: str, tree: ast.Module) -> tuple[str, str] | None:
    """Execute one test program; return what went wrong, if anything did, and how."""
    found = None
    try:
        judge.run(code, tree)
    except (Unjudged, Refuted):
        pass
    except WireError as error:
        found = ("failed", f"{error}")
    except AssertionError as error:
        found = ("failed", f"failed: {_source(code, error)} {error}".rstrip()[:300])
    except BaseException as error:
        found = ("failed", f"{type(error).__name__}: {error}"[:300])
        if isinstance(error, ModuleNotFoundError) and error is not judge.bridge.last_raised:
            found = ("bad tests", f"the tests need what the sandbox does not have: {error}")
    if found is not None and found[0] == "failed":
        apart = checks.acts_on_interpreter(ast.parse(code))
        if apart:
            found = ("unjudged", f"the tests use {apart}, which does not reach the program")
    verdict = judge.bridge.verdict
    if isinstance(verdict, Refuted):
        return ("failed", str(verdict))
    return ("unjudged", str(verdict)) if verdict is not None else found


def _source(code: str, error: BaseException) -> str:
    """Return the statement of the tests that raised."""
    line, step = 0, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == "tests.py":
            line = step.tb_lineno
        step = step.tb_next
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assert) and node.lineno <= line <= (node.end_lineno or line):
            return ast.unparse(node)[:200]
    return code.splitlines()[line - 1].strip()[:200] if line else ""
