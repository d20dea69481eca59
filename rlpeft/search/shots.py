"""The labelled examples of a few-shot search, held out from all that it is judged by."""

from __future__ import annotations

import json
import random
from pathlib import Path

from rlpeft.errors import DataError
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.tasks.base import Task
from rlpeft.tasks.golds import gold_parts
from rlpeft.tasks.jsonl import Row, read_jsonl
from rlpeft.tasks.rows import as_prompt, column
from rlpeft.types import Problem

FEWEST = 2
"""One shot is right or wrong: it ranks no mixtures."""


def load_shots(recipe: AdaptRecipe, task: Task) -> tuple[Problem, ...]:
    """The recipe's shots, from its file or drawn from its task.

    Raises:
        DataError: too few of them, for the folds too; a damaged file; or one that is also a test
            problem.
    """
    config = recipe.shots
    shots = _read(Path(config.path).expanduser()) if config.path else _draw(recipe, task)
    needed = max(FEWEST, recipe.search.folds)
    if len(shots) < needed:
        raise DataError(
            f"a search needs {needed} shots at least"
            f"{' for search.folds' if needed > FEWEST else ''}, "
            f"{config.path or task.name!r} gives {len(shots)}. Label more examples."
        )
    tested = {_key(problem) for problem in task.split("test")}
    for shot in shots:
        if _key(shot) in tested:
            raise DataError(
                f"shots must not be among the test problems they are judged by, {shot.id!r} is. "
                "Take it out of the file, or draw shots from the train split."
            )
    return shots


def _draw(recipe: AdaptRecipe, task: Task) -> tuple[Problem, ...]:
    config = recipe.shots
    problems = task.split(config.split)
    if len(problems) < config.number:
        raise DataError(
            f"shots.number must be at most the {len(problems)} {config.split} problems of "
            f"{task.called!r}, got {config.number}."
        )
    return tuple(random.Random(config.seed).sample(list(problems), config.number))


def _read(path: Path) -> tuple[Problem, ...]:
    if not path.is_file():
        raise DataError(f"shots.path must be a JSONL file, there is none at {str(path)!r}.")
    rows = read_jsonl(path)
    return tuple(_problem(row, f"{path.name}/{number}") for number, row in enumerate(rows, 1))


def _problem(row: Row, name: str) -> Problem:
    try:
        prompt, (answer, gold) = as_prompt(column(row, "prompt")), gold_parts(column(row, "answer"))
    except DataError as error:
        raise DataError(f"shot {name!r}: {error}.") from error
    return Problem(name, prompt, answer, {k: v for k, v in row.items() if k != "answer"} | gold)


def _key(problem: Problem) -> str:
    return json.dumps(problem.asked, default=dict)
