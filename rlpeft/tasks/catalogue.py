"""Every task by name.

A task is a file with its options and a `TaskBuilder`, and one line of `TASKS`. Rows of one's own
need neither: `jsonl` and `hub` read them.
"""

from __future__ import annotations

from importlib import import_module

from rlpeft.errors import ConfigError, DataError
from rlpeft.recipe.adapter import Section
from rlpeft.recipe.options import OptionTable, options_of
from rlpeft.recipe.task import Size, TaskConfig
from rlpeft.recipe.toml import toml_value
from rlpeft.suggest import did_you_mean
from rlpeft.tasks.base import Split, Task
from rlpeft.tasks.benchmarks import BENCHMARKS
from rlpeft.tasks.builder import Asked, TaskBuilder, read_options
from rlpeft.tasks.tiny import SKILL_TASKS

FAMILY = "tiny/…"
"""Stands for all tiny skills, which tell a misspelt one themselves."""

TASKS: dict[str, str] = {
    FAMILY: "rlpeft.tasks.tiny:TINY",
    "arithmetic": "rlpeft.tasks.arithmetic:ARITHMETIC",
    "kind": "rlpeft.tasks.kinds:KIND",
    "product": "rlpeft.tasks.product:PRODUCT",
    "pictures": "rlpeft.tasks.pictures:PICTURES",
    "jsonl": "rlpeft.tasks.own_rows:ROWS",
    "hub": "rlpeft.tasks.own_rows:ROWS",
    **dict.fromkeys(BENCHMARKS, "rlpeft.tasks.benchmarks:BENCHMARK"),
}
"""Each task by its `task.name`: where its builder is, which is imported when it is needed."""


def load_task(config: TaskConfig, *, only: Split | None = None) -> Task:
    """Load the task a recipe names.

    Args:
        only: the one split that is needed. A single file of rows is that split, whole, and nothing
            is carved from rows that the source gives to it.

    Raises:
        ConfigError, DataError: see `require_known`; or data that cannot fill its splits.
    """
    found, options, counts = require_known(config)
    return found.build(Asked(config.name, config.path, counts, only, config.streaming), options)


def require_known(config: TaskConfig) -> tuple[TaskBuilder, Section, dict[Split, int]]:
    """What builds a task, its options and the sizes of its splits, without any data.

    Raises:
        ConfigError: an option the task does not take, a path it would not read, rows that it would
            not stream, or all of a split whose problems are generated.
        DataError: an unknown task.
    """
    name = _entry(config.name)
    if name not in TASKS:
        known = [*(f"tiny/{skill}" for skill in SKILL_TASKS), *(n for n in TASKS if n != FAMILY)]
        near = did_you_mean(config.name, known)
        raise DataError(f"task.name must be one of {', '.join(known)}, got {config.name!r}.{near}")
    found = builder(name)
    if config.path is not None and not found.reads_path:
        raise ConfigError(
            f"task.path must be absent for task.name = {config.name!r}, whose problems are "
            f"generated, got {config.path!r}. Rows of your own take its place by --data PATH, or "
            "by task.name = 'jsonl', which reads every format, with task.num_validation and "
            "task.num_test that they have room for."
        )
    if config.streaming is not None and not found.streams:
        raise ConfigError(
            f"task.streaming is of rows of your own, task.name = 'jsonl' or 'hub' with task.path, "
            f"got {config.streaming} with {config.name!r}. Remove it: those are all read at the "
            "start."
        )
    options = read_options(config.options, found.options, task=config.name)
    return found, options, _counts(config, found)


def _counts(config: TaskConfig, found: TaskBuilder) -> dict[Split, int]:
    """Problems of the splits whose size a recipe gives; none of one that is taken whole.

    Raises:
        ConfigError: all of a split whose problems are generated.
    """
    sizes: dict[Split, Size] = {"validation": config.num_validation, "test": config.num_test}
    whole = [split for split, size in sizes.items() if size == "all"]
    if whole and not found.reads_path:
        raise ConfigError(
            f"task.num_{whole[0]} must be a number for task.name = {config.name!r}, whose problems "
            "are generated, got 'all'."
        )
    return {split: size for split, size in sizes.items() if size != "all"}


def is_generated(name: str) -> bool:
    """Whether a task makes its problems itself, and `task.path` cannot name them."""
    entry = _entry(name)
    return entry in TASKS and not builder(entry).reads_path


def _entry(name: str) -> str:
    return FAMILY if name.startswith("tiny/") else name


def builder(name: str) -> TaskBuilder:
    """What builds a task of the table."""
    module, _, attribute = TASKS[name].partition(":")
    found: TaskBuilder = getattr(import_module(module), attribute)
    return found


def task_option_tables() -> list[OptionTable]:
    """The options of all tasks, those that take the same ones together."""
    places = {place: [name for name in TASKS if TASKS[name] == place] for place in TASKS.values()}
    return [
        options_of(
            builder(names[0]).options,
            section="task.options",
            given=f"task.name = {' | '.join(map(toml_value, names))}",
        )
        for names in places.values()
    ]
