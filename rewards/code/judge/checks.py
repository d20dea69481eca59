"""Where in a test program something is checked: counted, so that tests of nothing show.

A check is an `assert`, a call of an `assert...` method, a block that expects an exception, or a
branch that may raise, of something that is not constant. Each is followed by a call of `CHECKED`,
each handler of an exception begins with one of `HANDLED`, each function of the top with one of
`ENTERED`.
"""

from __future__ import annotations

import ast
import symtable
from typing import Any

CHECKED, HANDLED, ENTERED = "·checked", "·handled", "·entered"
_ACTING = frozenset(
    {"assertLogs", "assertWarns", "warns", "catch_warnings", "setenv", "chdir", "syspath_prepend"}
)
# What tests may put something in the place of, and the program meets it.
_SHARED = ("solution.", "builtins.input", "sys.stdout", "sys.stdin", "sys.stderr", "__main__.")
_EXPECTING = frozenset({"raises", "warns", "deprecated_call"})


def instrument(tree: ast.Module) -> tuple[ast.Module, bool]:
    """Mark the checks of `tree`, in place; return it and whether there are any."""
    marker = _Marker()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body.insert(_first(node.body), _call(ENTERED, node, ast.Constant(node.name)))
    tree = marker.visit(tree)
    return ast.fix_missing_locations(tree), marker.found


class _Marker(ast.NodeTransformer):
    def __init__(self) -> None:
        self.found = False

    def _checked(self, node: ast.stmt) -> Any:
        self.found = True
        return [node, _call(CHECKED, node)]

    def _expected(self, node: ast.stmt) -> Any:
        self.found = True
        return [node, _call(HANDLED, node, ast.Constant(True))]

    def visit_Assert(self, node: ast.Assert) -> Any:
        return node if _is_constant(node.test) else self._checked(node)

    def visit_Expr(self, node: ast.Expr) -> Any:
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        if not isinstance(value, ast.Call):
            return node
        if _called(value).startswith("assertRaises"):
            return self._expected(node)
        name = _called(value)
        of_values = name[6:7].isupper()  # assertTrue; assert_called asks its object
        if of_values and value.args and all(map(_is_constant, value.args)):
            return node
        return self._checked(node) if name.startswith("assert") else node

    def visit_With(self, node: Any) -> Any:
        self.generic_visit(node)
        calls = [item.context_expr for item in node.items]
        if any(isinstance(call, ast.Call) and _expects(_called(call)) for call in calls):
            return self._expected(node)
        # Behind a block that raises, its context manager has stopped the exception.
        return self._checked(node) if isinstance(node.body[-1], ast.Raise) else node

    visit_AsyncWith = visit_With

    def visit_If(self, node: ast.If) -> Any:
        branches = [node.body, node.orelse]
        may_fail = any(_fails(statement) for branch in branches for statement in branch)
        self.generic_visit(node)
        if may_fail and not _is_constant(node.test):
            self.found = True
            for branch in branches:
                branch.insert(0, _call(CHECKED, node))
        return node

    def visit_Try(self, node: ast.Try) -> Any:
        may_fail = any(_fails(statement) for statement in (*node.body, *node.orelse))
        self.found |= may_fail and bool(node.handlers)
        self.generic_visit(node)
        for handler in node.handlers:
            handler.body.insert(0, _call(HANDLED, handler, ast.Constant(may_fail)))
        return node


def _is_constant(node: ast.expr) -> bool:
    """Whether nothing is asked of anybody: True, 1 == 1, "a message"."""
    return not any(isinstance(part, (ast.Name, ast.Call, ast.NamedExpr)) for part in ast.walk(node))


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _expects(name: str) -> bool:
    return name in _EXPECTING or name.startswith("assert")


def _fails(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return _called(node.value) in ("fail", "exit", "_exit")
    return isinstance(node, (ast.Raise, ast.Assert))


def _call(name: str, at: Any, *arguments: ast.expr) -> ast.stmt:
    call = ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
    return ast.copy_location(ast.Expr(call), at)


def _first(body: list[ast.stmt]) -> int:
    """Return the place behind a docstring."""
    first = body[0]
    return int(isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant))


def free_names(code: str) -> tuple[set[str], set[str]]:
    """Return the names that a program uses and does not bind, and all that it uses."""
    top = symtable.symtable(code, "tests.py", "exec")
    used: set[str] = set()
    bound = {
        symbol.get_name()
        for symbol in top.get_symbols()
        if symbol.is_assigned() or symbol.is_imported()
    }
    scopes = [top]
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        for symbol in scope.get_symbols():
            if scope is top or symbol.is_global():
                if symbol.is_referenced():
                    used.add(symbol.get_name())
                if scope is not top and symbol.is_assigned():
                    bound.add(symbol.get_name())
    return used - bound, used


def attribute_only(tree: ast.AST, name: str) -> bool:
    """Whether `name` is used for its attributes alone, as a module is."""
    owners = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    return all(id(node) in owners for node in uses)


def acts_on_interpreter(tree: ast.AST) -> str:
    """Name what tests do to their own interpreter for the program to notice, "" if nothing.

    The program has an interpreter of its own: only its output, its input and its names are the
    tests' as well.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name, first = ast.unparse(node.func), node.args[:1]
            target = first[0].value if first and isinstance(first[0], ast.Constant) else None
            if name.rpartition(".")[2] in _ACTING or name.endswith("random.seed"):
                return name
            patched = isinstance(target, str) and name.rpartition(".")[2] in ("patch", "setattr")
            if patched and not str(target).startswith(_SHARED):
                return f"{name}({target!r})"
        elif isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for written in map(ast.unparse, targets):
                if written.startswith(("os.environ", "sys.argv", "random.", "time.")):
                    return written
    return ""
