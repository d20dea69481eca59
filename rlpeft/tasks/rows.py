"""From rows to problems: templates, disjoint splits, and errors that name the row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rlpeft.errors import DataError
from rlpeft.recipe.columns import has_column, value_at
from rlpeft.recipe.task import TaskConfig
from rlpeft.tasks.base import SPLITS, ProblemSet, Split, carve, prompt_key
from rlpeft.tasks.folder import Tables
from rlpeft.tasks.formats import read_rows
from rlpeft.tasks.jsonl import Row
from rlpeft.types import ImageFile, Problem, Prompt


@dataclass(frozen=True, slots=True)
class Item:
    """What a template makes of one row.

    Attributes:
        user: the question as the model reads it, or whole chat turns.
        answer: gold answer as the reward expects it.
        system: opening instruction.
        prefill: how the model's own turn begins; it is part of the prompt.
        columns: added to the row's own columns.
        images: what the question shows.
    """

    user: Prompt
    answer: str
    system: str = ""
    prefill: str = ""
    columns: Mapping[str, Any] | None = None
    images: tuple[ImageFile, ...] = ()


def as_prompt(value: object) -> Prompt:
    """Check that a column's value is text or chat turns.

    Raises:
        DataError: it is neither, or empty, or turns written as text, or a turn's role has another
            name than templates know.
    """
    if isinstance(value, str) and value.strip():
        if _is_written_turns(value):
            raise DataError(
                "must have a prompt of chat turns as a list, it holds their JSON as text, which "
                f"would be read letter by letter, got {value!r:.80}. Parse the column first"
            )
        return value
    if isinstance(value, list) and value and all(_is_turn(turn) for turn in value):
        for turn in value:
            _require_role(turn["role"])
        # What a file of tables stores for a key that other turns have, and this has not.
        return tuple({key: v for key, v in turn.items() if v is not None} for turn in value)
    raise DataError(
        "must have a prompt that is non-empty text or a list of {'role', 'content'} turns, got "
        f"{value!r:.80}"
    )


def _is_written_turns(text: str) -> bool:
    if not text.lstrip().startswith("[") or '"role"' not in text or '"content"' not in text:
        return False
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, list) and bool(found) and all(_is_turn(turn) for turn in found)


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and all(isinstance(turn.get(k), str) for k in ("role", "content"))


def _require_role(role: str) -> None:
    """Refuse a role by another name: many templates write any, and an answer would stay unseen."""
    known = role.strip().casefold()
    known = OTHER_NAMES.get(known, known)
    if role != known and known in ("system", "user", "assistant"):
        raise DataError(
            f"must have chat turns by the roles system, user and assistant, got {role!r}. Write "
            f"{known!r} in its place"
        )


OTHER_NAMES = {
    **dict.fromkeys(("human", "prompter", "question"), "user"),
    **dict.fromkeys(("gpt", "model", "bot", "chatbot", "ai", "answer"), "assistant"),
}
"""What data sets call the roles of chat templates."""

RowReader = Callable[[Row], Item]

RowProblem = Callable[[Split, int, Row], Problem]
"""Makes a problem of the split of a row, its index there and the row."""

CARVED: tuple[Split, ...] = ("validation", "test")
"""Splits that are drawn from another where the source lacks them."""


def chat_prompt(item: Item) -> Prompt:
    """Chat turns for the model's own template; a prefill is a last, open assistant turn."""
    turns = ({"role": "user", "content": item.user},) if isinstance(item.user, str) else item.user
    opening = ({"role": "system", "content": item.system},) if item.system else ()
    prefill = ({"role": "assistant", "content": item.prefill},) if item.prefill else ()
    return (*opening, *turns, *prefill)


def instruction_prompt(item: Item) -> Prompt:
    """Plain text for models without a chat template (the form of transformer2's code tasks)."""
    opening = f"{item.system}\n\n" if item.system else ""
    return f"{opening}@@ Instruction:\n{item.user}\n\n@@ Response:\n{item.prefill}"


def bare_prompt(item: Item) -> Prompt:
    """The question alone."""
    return item.user


def column(row: Row, *names: str, option: str = "") -> Any:
    """The first of `names` that the row has; dots read into dicts.

    Args:
        option: what names the column, where the user may.

    Raises:
        DataError: it has none of them, or null there.
    """
    for name in filter(partial(has_column, row), names):
        if (value := value_at(row, name)) is not None:
            return value
    wanted = " or ".join(repr(name) for name in names)
    if any(has_column(row, name) for name in names):
        raise DataError(f"must have a value in column {wanted}, got null. Fill or remove the row")
    mend = f". Name yours by {option}" if option else ""
    raise DataError(f"must have a column {wanted}, has {sorted(row)}{mend}")


def row_task(
    name: str,
    tables: Tables,
    problem: RowProblem,
    *,
    counts: Mapping[Split, int],
    seed: int,
    only: Split | None = None,
    source: str = "",
) -> ProblemSet:
    """Make a task of rows.

    A validation or test split that the source lacks is carved from its train rows by `seed`; a
    source with test rows alone gives its validation problems up from those. A split that the
    source has is cut down to its count by `seed`. Rows of train and validation whose prompt also
    stands in a later split are left out: published splits do overlap.

    Args:
        problem: see `row_maker`.
        counts: `validation` and `test` problems; of a split that is not there, all its rows.
        only: the one split that is needed; where the source has it, nothing is carved from it.
        source: where the rows came from, for errors.

    Raises:
        DataError: a row the template cannot read, or too few rows to carve from.
    """
    wanted = CARVED
    if only is not None and only in tables:
        tables, wanted = {only: tables[only]}, tuple({only} & set(CARVED))
    problems = {
        split: [problem(split, index, row) for index, row in enumerate(rows)]
        for split, rows in tables.items()
    }
    chosen = _choose(source or name, problems, {split: counts.get(split) for split in wanted}, seed)
    kept = apart(chosen)
    left_out = {split: len(chosen.get(split, [])) - len(kept[split]) for split in kept}
    asked = {problem.id for own in chosen.values() for problem in own}
    unasked = {split: sum(p.id not in asked for p in own) for split, own in problems.items()}
    return ProblemSet(name, kept, left_out, unasked=unasked, source=source)


def apart(problems: Mapping[Split, Sequence[Problem]]) -> dict[Split, tuple[Problem, ...]]:
    """The problems of each split whose prompt stands in no later one."""
    seen: set[str] = set()
    kept: dict[Split, tuple[Problem, ...]] = {}
    for split in reversed(SPLITS):
        kept[split] = tuple(p for p in problems.get(split, []) if prompt_key(p) not in seen)
        seen.update(prompt_key(problem) for problem in kept[split])
    return kept


def row_maker(
    name: str,
    template: RowReader,
    prompt: Callable[[Item], Prompt],
    *,
    special_tokens: bool = False,
    source: str = "",
) -> RowProblem:
    """What makes the problems of a task; it raises `DataError` of a row it cannot read.

    Args:
        template, prompt: make an item of a row, and a prompt of an item.
        special_tokens: see `rlpeft.types.Problem`.
        source: where the rows came from, for errors.
    """

    def problem(split: Split, index: int, row: Row) -> Problem:
        try:
            item = template(row)
        except DataError as error:
            called = source or name
            raise DataError(f"task {called!r}, {split} row {index + 1}: {error}.") from error
        columns = {key: value for key, value in row.items() if key != "answer"}
        columns.update(item.columns or {})
        id = f"{name}/{split}/{index}"
        made = Problem(id, prompt(item), item.answer, columns, special_tokens=special_tokens)
        return replace(made, images=item.images) if item.images else made

    return problem


def _choose(
    called: str,
    problems: Mapping[Split, list[Problem]],
    counts: Mapping[Split, int | None],
    seed: int,
) -> dict[Split, list[Problem]]:
    chosen = dict(problems)
    donor: Split = "train" if "train" in problems else "test"
    lacking = {
        split: _carved(called, split, n) for split, n in counts.items() if split not in problems
    }
    _check_donor(called, donor, len(problems.get(donor, ())), lacking)
    # Validation first: where both come from the test rows, the tests are cut from what is left.
    for split, count in counts.items():
        if split in lacking:
            chosen[donor], chosen[split] = carve(chosen[donor], lacking[split], seed=seed)
        elif count is not None and len(chosen[split]) > count:
            _, chosen[split] = carve(chosen[split], count, seed=seed)
    return chosen


def _carved(called: str, split: Split, count: int | None) -> int:
    """How many problems are carved for a split that the source lacks."""
    if count is None:
        raise DataError(
            f"task {called!r}: task.num_{split} must be a number where the source has no {split} "
            "rows, which are then carved from others, got 'all'."
        )
    return count


FEW = 20
"""Problems, with fewer of which hardly any two models can be told apart."""


def _check_donor(called: str, donor: Split, num_rows: int, carved: Mapping[Split, int]) -> None:
    """Refuse to carve all rows away; the message speaks of the rows that the user has."""
    if not carved or sum(carved.values()) < num_rows:
        return
    options = [f"task.num_{split}" for split in carved]
    pairs = zip(options, fitting(num_rows), strict=False)
    lower = ", ".join(f"{option} = {number}" for option, number in pairs)
    raise DataError(
        f"task {called!r}: {' + '.join(options)} must leave at least one of the {num_rows} {donor} "
        f"rows they are carved from, got {' + '.join(_sized(*each) for each in carved.items())}. "
        + (f"Lower them, such as {lower}." if num_rows > 2 else "Give a larger source.")
    )


def _sized(split: Split, count: int) -> str:
    """A size, which nobody may have set."""
    default = TaskConfig.model_fields[f"num_{split}"].default
    return f"{count} (the default)" if count == default else f"{count}"


def fitting(num_rows: int) -> tuple[int, int]:
    """Validation and test problems that so many rows have room for, and that say something.

    A tenth and a fifth of them; of few rows a quarter each.
    """
    least = max(1, min(FEW, num_rows // 4))
    return max(least, num_rows // 10), max(least, num_rows // 5)


def divided(path: Path, sizes: Callable[[int], tuple[int, int]] = fitting) -> dict[str, int]:
    """`num_validation` and `num_test` of a file that has no room for the defaults; else nothing.

    Raises:
        DataError: the file cannot be read.
    """
    names = ("num_validation", "num_test")
    defaults = [TaskConfig.model_fields[name].default for name in names]
    if not path.is_file() or (number := len(read_rows(path))) > sum(defaults):
        return {}
    return dict(zip(names, sizes(number), strict=True))
