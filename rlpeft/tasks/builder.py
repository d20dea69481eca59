"""How a task is built: the options it takes, and the function that makes its problems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from rlpeft.errors import ConfigError
from rlpeft.recipe.run import Section, TaskConfig
from rlpeft.suggest import did_you_mean
from rlpeft.tasks.base import ProblemSet, Split

AnyOptions = TypeVar("AnyOptions", bound=Section)


@dataclass(frozen=True, slots=True)
class TaskBuilder:
    """What the catalogue knows of a task.

    Attributes:
        options: the section that `task.options` is read as.
        build: makes the problems, of the one split that is needed where it is told of one.
        reads_path: whether `task.path` names its rows; otherwise its problems are generated.
    """

    options: type[Section]
    build: Callable[[TaskConfig, Any, Split | None], ProblemSet]
    reads_path: bool = True


def read_options(config: TaskConfig, schema: type[AnyOptions]) -> AnyOptions:
    """`task.options` as the section of its task.

    Raises:
        ConfigError: an option the task does not take, or a value out of bounds.
    """
    try:
        return schema.model_validate(config.options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        near = did_you_mean(where, schema.model_fields)
        raise ConfigError(
            f"task.options.{where} of {config.name!r}: {first['msg']}, got {first['input']!r}. "
            f"Options are: {', '.join(schema.model_fields)}.{near}"
        ) from error


def counts(config: TaskConfig) -> dict[Split, int]:
    """Problems of the splits whose size a recipe gives."""
    return {"validation": config.num_validation, "test": config.num_test}
