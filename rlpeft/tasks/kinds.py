r"""The classification task of two-pass inference: which task does a question come from?

The question is neutral: it goes through no task's template, whose wording would give the kind away
(Transformer², arXiv 2501.06252, "classification expert"; its public code asks through the task's
own template, and takes its training questions from test splits). Here every question, those of
validation and test too, comes from a *training* split, so that no task is spoilt by it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from pydantic import Field, field_validator

from rlpeft.errors import ConfigError, DataError
from rlpeft.recipe.run import Section, TaskConfig
from rlpeft.tasks.base import SPLITS, ProblemSet, Split, Task
from rlpeft.tasks.builder import Asked, TaskBuilder
from rlpeft.tasks.catalogue import load_task
from rlpeft.types import Problem, Prompt

OTHERS = "others"
"""The answer for a prompt that no expert was trained for."""

TINY_KIND = "tiny/kind"
"""The classification task of the tiny skills, which has a question of its own."""


class KindOptions(Section):
    """Options of `kind`."""

    tasks: tuple[TaskConfig, ...]
    """Tasks to tell apart, each as a `[task]` section; the label is the last part of its name."""
    others: tuple[TaskConfig, ...] = ()
    """Tasks whose questions are labelled `others`."""
    num_train: Annotated[int, Field(ge=1)] = 1000
    """Train problems, over all labels."""
    seed: int = 0
    """Decides which questions are drawn, and their order."""

    @field_validator("tasks", "others")
    @classmethod
    def _are_read(cls, tasks: tuple[TaskConfig, ...]) -> tuple[TaskConfig, ...]:
        for task in tasks:
            if task.streaming is not None:
                raise ValueError(
                    f"tasks to tell apart must be read whole, {task.source!r} streams. Remove its "
                    "streaming"
                )
        return tasks


def ask_kind(prompt: Prompt, labels: Sequence[str], task: str | None = None) -> Prompt:
    r"""The question for the kind of a prompt, in plain words or as `tiny/kind` was trained.

    >>> ask_kind("3714@=", ["swap", "others"], "tiny/kind")
    '?3714@='
    """
    text = prompt if isinstance(prompt, str) else _last_user(prompt)
    if task == TINY_KIND:
        return f"?{text}"
    boxes = ", ".join(f"\\boxed{{{label}}}" for label in labels)
    system = (
        "You sort questions into kinds. Do not answer the question. Reply with one of "
        f"{boxes}; \\boxed{{{OTHERS}}} where none of the others fits."
    )
    asked = f"Which kind is this question?\n\n{text}"
    return ({"role": "system", "content": system}, {"role": "user", "content": asked})


def _last_user(turns: Sequence[object]) -> str:
    said = [turn for turn in turns if isinstance(turn, dict) and turn.get("role") == "user"]
    return str(said[-1]["content"]) if said else ""


def label_of(task_name: str) -> str:
    """The label of a task.

    >>> label_of("tiny/swap")
    'swap'
    """
    return task_name.rpartition("/")[2]


def kind_task(
    options: KindOptions, counts: Mapping[Split, int], load: Callable[[TaskConfig], Task]
) -> ProblemSet:
    """Draw questions of every task, as many of each label as of any other.

    Args:
        counts: problems of validation and test.
        load: loads a task.

    Raises:
        ConfigError: two tasks have one label, or there are fewer than two labels.
        DataError: a task's training split is too small.
    """
    by_label = {label_of(config.name): [config] for config in options.tasks}
    if len(by_label) < len(options.tasks):
        raise ConfigError(
            "task.options.tasks must have different labels, got "
            f"{[config.name for config in options.tasks]}."
        )
    if options.others:
        by_label[OTHERS] = list(options.others)
    if len(by_label) < 2:
        raise ConfigError(f"task 'kind' needs two labels to tell apart, got {list(by_label)}.")
    sizes = {"train": options.num_train, **counts}
    rng = random.Random(options.seed)
    splits: dict[Split, list[Problem]] = {split: [] for split in SPLITS}
    for label, configs in by_label.items():
        pool = [p for config in configs for p in load(config).split("train")]
        rng.shuffle(pool)
        for split in SPLITS:
            count = -(-sizes[split] // len(by_label))
            drawn, pool = pool[:count], pool[count:]
            _require(drawn, count, label, split)
            splits[split] += [_labelled(p, label, list(by_label)) for p in drawn]
    for problems in splits.values():
        rng.shuffle(problems)
    return ProblemSet("kind", {split: tuple(splits[split][: sizes[split]]) for split in SPLITS})


def _labelled(problem: Problem, label: str, labels: Sequence[str]) -> Problem:
    prompt = ask_kind(problem.prompt, labels)
    special = problem.special_tokens
    return Problem(f"kind/{label}/{problem.id}", prompt, label, special_tokens=special)


def _require(drawn: Sequence[Problem], count: int, label: str, split: Split) -> None:
    if len(drawn) < count:
        raise DataError(
            f"task 'kind' needs {count} more training questions of {label!r} for its {split} "
            f"split, there are {len(drawn)}. Lower task.num_validation, task.num_test or "
            "task.options.num_train."
        )


def _build(asked: Asked, options: KindOptions) -> ProblemSet:
    return kind_task(options, asked.counts, load_task)


KIND = TaskBuilder(KindOptions, _build, reads_path=False)
