"""Whether the programs and tests of a task can run in the sandbox of the code reward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rewards.code.imports import foreign_imports
from rlpeft.doctor.row import Check, ok, warn
from rlpeft.tasks.golds import gold_of
from rlpeft.types import Problem


def check_programs(problems: Sequence[Problem]) -> Iterator[Check]:
    """Look for imports of what a sandbox lacks in all that a row holds as text: tests, solutions.

    Yields:
        One row.
    """
    rows: Counter[str] = Counter()
    first: dict[str, str] = {}
    for problem in problems:
        for module in _foreign(problem):
            rows[module] += 1
            first.setdefault(module, problem.id)
    name = "modules of programs and tests"
    if not rows:
        yield ok(name, "the standard library alone")
        return
    found = ", ".join(
        f"{module} in {count} of {len(problems)} rows (first {first[module]})"
        for module, count in rows.most_common(5)
    )
    yield warn(
        name,
        f"{found}: the sandbox has the standard library alone",
        "A program that imports these is wrong there, and tests that do are unscorable: leave "
        "such rows out, or score them by a reward of your own.",
    )


def _foreign(problem: Problem) -> set[str]:
    return {
        module
        for text in _texts([gold_of(problem), *problem.columns.values()])
        if "import " in text
        for module in foreign_imports(text)
    }


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
