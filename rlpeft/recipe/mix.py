"""Several `[[task]]` of a recipe: problems are drawn from all of them, by their weights.

The string under each field is its documentation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, WrapValidator, field_validator, model_validator

from rlpeft.recipe.reward import RewardConfig
from rlpeft.recipe.task import TaskConfig
from rlpeft.recipe.templates import Template

LABEL = re.compile(r"[\w-]+")
"""What metrics, tables and `--set task.LABEL.key=value` can hold."""


class MixedTask(TaskConfig):
    """One of several tasks, with what judges its answers: a `[task]`, and these keys."""

    label: str = ""
    """What metrics and tables call it, and `--set task.LABEL.key=value`; absent: the last part of
    its name, or of its path."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its share of the problems that are drawn is this, divided by the sum of all weights."""
    reward: tuple[RewardConfig, ...] | None = None
    """What judges its answers, as `reward` of a recipe with one task."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """New tokens of an answer; absent: rollout.max_tokens, which is the most there may be."""
    completion: str | None = None
    """What `rlpeft sft` teaches it to write; absent: sft.completion."""

    @field_validator("completion")
    @classmethod
    def _names_columns(cls, text: str | None) -> str | None:
        if text is not None:
            Template.parse(text, "completion of a [[task]]")
        return text

    @model_validator(mode="before")
    @classmethod
    def _is_called(cls, section: Any) -> Any:
        if isinstance(section, dict) and not section.get("label"):
            return section | {"label": called(section)}
        return section

    @field_validator("label")
    @classmethod
    def _can_be_a_key(cls, label: str) -> str:
        if not LABEL.fullmatch(label):
            raise ValueError(
                "label of a [[task]] must be of letters, digits, '-' and '_', got "
                f"{label!r:.80}. Set one, such as label = 'sums'."
            )
        return label


def called(section: Mapping[str, Any]) -> str:
    """The label of a `[[task]]` that is given none.

    >>> called({"name": "tiny/swap"}), called({"path": "rows/sums.jsonl.gz"})
    ('swap', 'sums')
    """
    return PurePath(str(section.get("path") or section.get("name"))).name.partition(".")[0]


_SEVERAL = TypeAdapter(tuple[MixedTask, ...])


def _one_or_several(value: Any, _: Any) -> TaskConfig | tuple[MixedTask, ...]:
    # Not left to a union, which would tell each mistake once for either form.
    if isinstance(value, (list, tuple)):
        return _SEVERAL.validate_python(value)
    return TaskConfig.model_validate(value)


OneOrSeveral = Annotated[TaskConfig | tuple[MixedTask, ...], WrapValidator(_one_or_several)]
"""The one task of a recipe, or several."""


def require_mixable(
    tasks: Sequence[MixedTask], reward: Sequence[RewardConfig] | None, max_tokens: int
) -> None:
    """Refuse several tasks that cannot be told apart, or that something beside them would judge.

    Args:
        reward: `reward` of the recipe.
        max_tokens: `rollout.max_tokens`.

    Raises:
        ValueError: says what to write.
    """
    if not tasks:
        raise ValueError("task must list at least one task, got none.")
    twice = [label for label, count in Counter(t.label for t in tasks).items() if count > 1]
    if twice:
        raise ValueError(
            f"each [[task]] must have a label of its own, several are called {twice[0]!r}. Set "
            "their labels, such as label = 'sums'."
        )
    if reward is not None:
        raise ValueError(
            "reward must stand in each [[task]], where it judges the answers of that one, and not "
            "beside them. Move it: reward = [{ name = 'math' }] among a task's keys."
        )
    for task in tasks:
        if task.max_tokens is not None and task.max_tokens > max_tokens:
            raise ValueError(
                f"max_tokens of task {task.label!r} must be at most rollout.max_tokens = "
                f"{max_tokens}, by which engines are built, got {task.max_tokens}. Raise that."
            )
