"""Gold answers of problems: what a reward gets, and whether it takes that at all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from rewards.golds import GoldRule, gold_in, is_missing
from rlpeft.errors import ConfigError, DataError
from rlpeft.recipe.columns import overlap
from rlpeft.recipe.task import problem_called
from rlpeft.recipe.templates import HINT, as_text
from rlpeft.tasks.base import Split, Task
from rlpeft.types import Problem

COLUMN = "answer"
"""The column under which rewards get the gold answer."""

MOST_NAMED = 3
"""Rows that an error names."""


def gold_of(problem: Problem) -> Any:
    """The gold answer as rewards get it: what the row holds."""
    return problem.columns.get(COLUMN, problem.answer)


def gold_parts(value: Any) -> tuple[str, dict[str, Any]]:
    """A gold answer as `Problem` holds it: its text, and a column with what is no text itself.

    Rewards get what the row holds, as from the trainers that they were written for: `7 == "7"` is
    false, and the text `"False"` is true.

    Raises:
        DataError: it is a number that is none.
    """
    return gold_text(value), {} if isinstance(value, str) else {COLUMN: value}


def gold_text(value: Any) -> str:
    """A gold answer for people and for prompts: as it is, or as JSON.

    Raises:
        DataError: it is a number that is none.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"must have a gold answer that is text or a finite number, got {value}")
    return as_text(value)


def require_judgeable(
    task: Task, splits: Sequence[Split], rules: Sequence[GoldRule], columns: frozenset[str]
) -> None:
    """Refuse problems that rewards could not judge.

    Args:
        splits: those that will be asked for.
        rules, columns: what the rewards' gold answers may be, and the columns they need.

    Raises:
        ConfigError: prompts hold the column of a gold answer.
        DataError: a split has no problem, a column that a reward needs is missing, or a gold answer
            is blank, or has a type that it does not take; all of these at once.
    """
    refuse_golds(task.made_of, [rule.column for rule in rules])
    there, faults = list[tuple[Split, Problem]](), list[str]()
    for split in splits:
        try:
            there += [(split, problem) for problem in task.split(split)]
        except DataError as error:  # told with what is wrong with the others
            faults.append(str(error))
    problems = [problem for _, problem in there]
    for check in (
        partial(_require_columns, task, there, columns),
        partial(require_golds, problems, rules, columns, source=task.called),
    ):
        try:
            check()
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError(" ".join(faults))


def _require_columns(
    task: Task, problems: Sequence[tuple[Split, Problem]], columns: frozenset[str]
) -> None:
    for split, problem in problems:
        if missing := columns - problem.columns.keys() - {COLUMN}:
            called = problem_called(problem.id, task.called)
            raise DataError(
                f"task {task.called!r} must have the columns {sorted(missing)} that a reward "
                f"needs, {split} problem {called!r} has {sorted(problem.columns)}. Name rows that "
                "have them, or another reward, such as --set 'reward=[{ name = \"exact\" }]'."
            )


def refuse_golds(made_of: Sequence[str], columns: Iterable[str]) -> None:
    """Refuse prompts that are made of a column that a reward compares with.

    Args:
        made_of: as in `rlpeft.tasks.base.Task`.
        columns: where rewards find gold answers; dots read into dicts.

    Raises:
        ConfigError: names the column.
    """
    # Under our own name rewards get the task's gold answer, whatever its column is called.
    for name in sorted({*columns} - {COLUMN}):
        refuse_gold(made_of, name)


def refuse_gold(made_of: Sequence[str], column: str) -> None:
    """Refuse prompts that are made of the column of the gold answer.

    Raises:
        ConfigError: names it.
    """
    held = [name for name in made_of if column and overlap(name, column)]
    if held:
        raise ConfigError(
            f"the prompt must not hold the gold answer, it is made of the column {held[0]!r}: the "
            f"model would only have to copy. {HINT}, such as \\boxed{{{{{held[0]}}}}}; if the "
            "prompt shall hold it, set task.options.answer_in_prompt = true."
        )


def require_golds(
    problems: Sequence[Problem],
    rules: Sequence[GoldRule],
    columns: Iterable[str] = (),
    *,
    source: str,
    split: str = "",
    counted_from: int = 0,
) -> None:
    """Refuse gold answers that are blank where others are not, or that their reward does not take.

    Args:
        columns: those that rewards cannot be called without: one may read gold answers by the name
            of their column, and have no rule.
        source: the file or dataset, for the error.
        split: of all these; absent: of each that which its id says.
        counted_from: what the first row's problem is numbered by.

    Raises:
        DataError: names the first rows with such a gold answer, and how many there are.
    """
    for rule in rules:
        rows = [{**problem.columns, COLUMN: gold_of(problem)} for problem in problems]
        # Where no row at all has an answer the task has none, and its rewards are to need none.
        has_some = not all(is_missing(_gold(row, rule.column)) for row in rows)
        faults = [_fault(rule, row, has_some=has_some) for row in rows]
        if any(faults):
            wrong = [problem for problem, fault in zip(problems, faults, strict=True) if fault]
            where = _places(wrong, counted_from, split)
            said = next(filter(None, faults))
            raise DataError(f"{source!r}, {where}: {said}. {rule.mend()}")
    golds = [gold_of(problem) for problem in problems]
    blank = [problem for problem in problems if is_missing(gold_of(problem))]
    if not blank or len(blank) == len(problems):
        return
    for name in columns:
        if name == COLUMN or [problem.columns.get(name) for problem in problems] == golds:
            raise DataError(
                f"{source!r}, {_places(blank, counted_from, split)}: a gold answer must be there "
                f"for a reward that reads column {name!r}, got {gold_of(blank[0])!r}. Fill or "
                "remove the row."
            )


def _gold(row: Mapping[str, Any], column: str) -> Any:
    try:
        return gold_in(row, column)
    except KeyError:
        return None


def _fault(rule: GoldRule, row: Mapping[str, Any], *, has_some: bool) -> str:
    try:
        value = gold_in(row, rule.column)
    except KeyError:
        return f"reward {rule.reward!r} reads {rule.column!r}, which is not there"
    # What a reward in another trainer's form is handed may be null: it does not judge that row.
    may_be_null = rule.types is None and value is None
    if is_missing(value) and (has_some or value is None) and not may_be_null:
        return f"a gold answer must be there for reward {rule.reward!r}, got {value!r}"
    return rule.fault(value) or rule.fault_of_items(value)


def _places(problems: Sequence[Problem], counted_from: int, split: str) -> str:
    """Rows by the part of the source that they stand in, whatever split they were drawn for."""
    parts: dict[str, list[Problem]] = {}
    for problem in problems:
        own = problem.id.rpartition("/")[0].rpartition("/")[2]
        parts.setdefault(split or own, []).append(problem)
    each = (f"{rows_of(own, counted_from)} ({part})" for part, own in parts.items())
    return " and ".join(each)


def row_of(problem: Problem, counted_from: int = 0) -> str:
    """The row it was made of: ids of problems from rows end in the row's index."""
    index = problem.id.rpartition("/")[2]
    return f"row {int(index) + 1 - counted_from}" if index.isdecimal() else "a row"


def rows_of(problems: Sequence[Problem], counted_from: int = 0) -> str:
    """The rows that some problems were made of, in a few words.

    >>> rows_of([Problem(f"sums/test/{n}", "3+4=") for n in range(5)])
    'rows 1, 2, 3 and 2 more'
    """
    if len(problems) == 1:
        return row_of(problems[0], counted_from)
    numbers = [row_of(problem, counted_from).removeprefix("row ") for problem in problems]
    numbers.sort(key=lambda number: (len(number), number))  # splits were drawn from all of them
    more = len(numbers) - MOST_NAMED
    shown = ", ".join(numbers[:MOST_NAMED])
    return f"rows {shown} and {more} more" if more > 0 else f"rows {shown}"
