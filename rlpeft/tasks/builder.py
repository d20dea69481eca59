"""How a task is built: the options it takes, and the function that makes its problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from rlpeft.errors import ConfigError
from rlpeft.recipe.run import Section
from rlpeft.suggest import did_you_mean
from rlpeft.tasks.base import Split, Task

AnyOptions = TypeVar("AnyOptions", bound=Section)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a task beside its own options.

    Attributes:
        name, path: as in `task.name` and `task.path`.
        counts: problems of the splits whose size a recipe gives; of others all that are there.
        only: the one split that is needed, where not all are.
        streaming: as in `task.streaming`.
    """

    name: str
    path: str | None
    counts: Mapping[Split, int]
    only: Split | None = None
    streaming: int | None = None


@dataclass(frozen=True, slots=True)
class TaskBuilder:
    """What the catalogue knows of a task.

    Attributes:
        options: the section that `task.options` is read as.
        build: makes the problems; the options are given as that section.
        reads_path: whether `task.path` names its rows; otherwise its problems are generated.
        streams: whether it takes `task.streaming`.
    """

    options: type[Section]
    build: Callable[[Asked, Any], Task]
    reads_path: bool = True
    streams: bool = False


MEANT = {
    "gold": "answer",
    "label": "answer",
    "target": "answer",
    "question": "prompt",
    "input": "prompt",
}
"""What others call a column -> the option that names it here."""


def read_options(options: Mapping[str, Any], schema: type[AnyOptions], *, task: str) -> AnyOptions:
    """`task.options` as the section of its task.

    Raises:
        ConfigError: an option the task does not take, or a value out of bounds.
    """
    try:
        return schema.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        meant = MEANT.get(where)
        known = schema.model_fields
        near = f" Did you mean {meant!r}?" if meant in known else did_you_mean(where, known)
        raise ConfigError(
            f"task.options.{where} of {task!r}: {first['msg']}, got {first['input']!r}. "
            f"Options are: {', '.join(known)}.{near}"
        ) from error
