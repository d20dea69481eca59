"""Tests as pairs of inputs and outputs, the form of APPS and LiveCodeBench.

APPS (Hendrycks et al., arXiv 2105.09938) holds `{"inputs": [...], "outputs": [...]}`, with
`fn_name` where a function is called; LiveCodeBench (Jain et al., arXiv 2403.07974) holds
`[{"input": ..., "output": ..., "testtype": "stdin" | "functional"}, ...]`.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MAX_CHARS = 32 << 20
"""Longest text that is read as pairs."""

PREAMBLE = """
import bisect, collections, copy, datetime, functools, heapq, itertools, math, operator
import random, re, string, sys
from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict, defaultdict, deque
from functools import cache, cmp_to_key, lru_cache, reduce
from heapq import heapify, heappop, heappush, heapreplace
from itertools import accumulate, combinations, permutations, product
from math import ceil, comb, factorial, floor, gcd, inf, log, sqrt
from typing import *
"""
"""What the harnesses of these benchmarks have imported before a program begins."""

ANNOTATIONS = """
from typing import (
    Any, Callable, Dict, FrozenSet, Generator, Iterable, Iterator, List, Mapping, Optional,
    Sequence, Set, Tuple, Union,
)
"""
"""What every program has: names of annotations, which benchmarks' prompts use and harnesses import.
They compute nothing, so that a program that lacks the import is not wrong for its answers.
"""

_CALL = """
import json, math, solution

def matches(got, wanted):
    if isinstance(wanted, list):
        return isinstance(got, (list, tuple)) and len(got) == len(wanted) and all(
            matches(one, other) for one, other in zip(got, wanted))
    if isinstance(wanted, dict):
        return isinstance(got, dict) and {{str(key): got[key] for key in got}}.keys() == (
            wanted.keys()) and all(matches(got[key], wanted[str(key)]) for key in got)
    if isinstance(wanted, float) and type(got) in (int, float):
        return math.isclose(got, wanted, rel_tol=1e-6, abs_tol=1e-9)
    return isinstance(got, bool) == isinstance(wanted, bool) and got == wanted

for given, wanted in json.loads({cases!r}):
    owner = solution.Solution() if hasattr(solution, "Solution") else solution
    got = getattr(owner, {name!r})(*given)
    assert matches(got, wanted) or (
        isinstance(wanted, list) and len(wanted) == 1 and matches(got, wanted[0])
    ), f"{{given}} gives {{got}} instead of {{wanted}}"[:300]
"""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Inputs and what they have to give.

    Attributes:
        cases: an input and its output each: texts, or where a function is called, the list of
            its arguments and a JSON value.
        function: the function to call, "" if the rows do not name it.
        calls: whether a function is called; otherwise the program is a script.
    """

    cases: tuple[tuple[Any, Any], ...]
    function: str = ""
    calls: bool = False

    def test_program(self, name: str) -> str:
        """Return a test program that calls the function `name`."""
        return _CALL.format(cases=json.dumps(self.cases), name=name)


def free_functions(source: str) -> list[str]:
    """Return the functions of a program that nothing else in it uses, or all if each is used.

    LiveCodeBench's rows name no function: a method of `Solution` is meant, or a function.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # what is wrong with it is told when it runs
    owners = [node for node in body if isinstance(node, ast.ClassDef) and node.name == "Solution"]
    functions = {
        node.name: node
        for node in (owners[-1].body if owners else body)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name[:1] != "_"
    }
    used = {
        name for own, function in functions.items() for name in names_used(function) if name != own
    }
    return [name for name in functions if name not in used] or list(functions)


def names_used(tree: ast.AST) -> set[str]:
    """Return all names and attributes that code reads."""
    nodes = list(ast.walk(tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def read_pairs(gold: object) -> Pairs | str | None:
    """Return the pairs in `gold`, why they cannot be used, or `None` if it holds no pairs.

    Args:
        gold: JSON text, or what it stands for. A Python test program is no JSON.
    """
    data = gold
    if isinstance(gold, str):
        if gold.lstrip()[:1] not in ("{", "[") or len(gold) > MAX_CHARS:
            return None
        try:
            data = json.loads(gold)
        except (ValueError, RecursionError):
            return None
    try:
        if isinstance(data, dict):
            return _apps(data)
        if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
            return _live_code_bench(data)
    except (KeyError, TypeError, ValueError) as error:
        return f"the pairs cannot be read: {error!r}"[:200]
    return "the tests are JSON, but no pairs of inputs and outputs"


def _apps(data: dict[str, Any]) -> Pairs | str:
    inputs, outputs = data["inputs"], data["outputs"]
    if len(inputs) != len(outputs):
        return f"there are {len(inputs)} inputs and {len(outputs)} outputs"
    name = data.get("fn_name") or ""
    if name:
        return _usable([(list(given), wanted) for given, wanted in _rows(inputs, outputs)], name)
    return _usable([(_text(given), _text(wanted)) for given, wanted in _rows(inputs, outputs)])


def _live_code_bench(rows: list[dict[str, Any]]) -> Pairs | str:
    kinds = {row.get("testtype", "stdin") for row in rows}
    if kinds == {"stdin"}:
        return _usable([(_text(row["input"]), _text(row["output"])) for row in rows])
    names = {_function_of(row) for row in rows}
    if kinds != {"functional"} or len(names) > 1:
        return "pairs for a function need the same name in every row, or in none: fn_name"
    cases = [
        ([json.loads(line) for line in row["input"].splitlines()], json.loads(row["output"]))
        for row in rows
    ]
    return _usable(cases, names.pop(), calls=True)


def _function_of(row: dict[str, Any]) -> str:
    """The name of the function that a row calls; LiveCodeBench's metadata is JSON in JSON."""
    about = row.get("metadata") or {}
    about = json.loads(about) if isinstance(about, str) else about
    return row.get("fn_name") or about.get("func_name") or ""


def _rows(inputs: Any, outputs: Any) -> Any:
    return zip(inputs, outputs, strict=True)


def _usable(
    cases: Sequence[tuple[Any, Any]], name: str = "", *, calls: bool = False
) -> Pairs | str:
    if not isinstance(name, str) or (name and not name.isidentifier()):
        return f"fn_name must be the name of a function, got {name!r}"[:100]
    return Pairs(tuple(cases), name, calls or bool(name)) if cases else "there are no pairs"


def _text(value: Any) -> str:
    """APPS holds some texts as lists of their lines."""
    if isinstance(value, list):
        return "\n".join(str(line) for line in value)
    if not isinstance(value, str):
        raise TypeError(f"inputs and outputs must be texts, got {value!r:.60}")
    return value


def same_output(printed: str, wanted: str) -> bool:
    """Whether a program printed what it had to: the same words in the same lines.

    Blank lines at the end and blanks between words do not count; a number with a decimal point
    may differ by 1e-6 of its size.
    """
    lines, wanted_lines = _words(printed), _words(wanted)
    return len(lines) == len(wanted_lines) and all(
        len(line) == len(other) and all(map(_same_word, line, other))
        for line, other in zip(lines, wanted_lines, strict=True)
    )


def _words(text: str) -> list[list[str]]:
    lines = [line.split() for line in text.strip().splitlines()]
    return lines or [[]]


def _same_word(word: str, wanted: str) -> bool:
    if word == wanted:
        return True
    if len(word) > 40 or len(wanted) > 40 or "." not in wanted:
        return False
    try:
        return math.isclose(float(word), float(wanted), rel_tol=1e-6, abs_tol=1e-9)
    except ValueError:
        return False
