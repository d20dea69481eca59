"""What programs and tests import, and what of it a sandbox does not have."""

from __future__ import annotations

import ast
import sys
import warnings

SOLUTION_NAMES = (
    *("solution", "main", "program", "submission", "candidate", "answer"),
    *("your_module", "your_solution", "my_solution"),
)
"""Names under which test programs import the program under test."""

GIVEN = frozenset({"pytest", *SOLUTION_NAMES})
"""Modules that tests have beside the standard library."""


def foreign_imports(code: str) -> set[str]:
    """Return the modules that `code` imports and a sandbox lacks; none of what is no Python.

    >>> sorted(foreign_imports("import math, numpy as np\\nfrom scipy.stats import norm"))
    ['numpy', 'scipy']
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [
        node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) if not node.level
    ]
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - GIVEN - {""}
