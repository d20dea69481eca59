"""The `[task]` and `[chat]` sections of a recipe: where problems come from and how they are put.

The string under each field is its documentation.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from rlpeft.recipe.adapter import Section

OUR_ARGUMENTS = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "max_length",
        "messages",
        "padding",
        "processor_kwargs",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "strftime_now",
        "tokenize",
        "tokenizer_kwargs",
        "truncation",
    }
)
"""Of `apply_chat_template`, and set by us."""


class ChatConfig(Section):
    """How the model's own template writes chat turns."""

    arguments: dict[str, Any] = {}
    """Arguments of the template, such as `enable_thinking` or `tools`."""
    fold_system: bool = False
    """Put a system turn's text before that of the first user turn, for models that take none."""
    date: datetime.date | None = None
    """The date that templates may write into prompts; absent: that of the run's start."""

    @field_validator("arguments")
    @classmethod
    def _are_the_templates(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(arguments.keys() & OUR_ARGUMENTS):
            raise ValueError(
                f"chat.arguments must be arguments of the model's chat template, "
                f"{', '.join(taken)} are ours. Remove them."
            )
        return arguments


def _name_or_path(schema: dict[str, Any]) -> None:
    del schema["required"]
    schema["anyOf"] = [{"required": ["name"]}, {"required": ["path"]}]


Size = Annotated[int, Field(ge=1)] | Literal["all"]
"""How many problems of a split; `"all"` of those that a source gives to it."""


class TaskConfig(Section):
    """Where problems come from."""

    model_config = ConfigDict(json_schema_extra=_name_or_path)

    name: str
    """A built-in task, or `jsonl` / `hub` with `path`; a path without a name means `jsonl`."""
    path: str | None = None
    """Rows of your own or a benchmark's: a file (JSONL, CSV, TSV, Parquet), a folder of splits, or
    a Hub dataset id."""
    options: dict[str, Any] = {}
    """Passed to the task: columns, template, number of shots, seed …"""
    # Of tasks that do not stream, cards and fingerprints are those of before there was a choice.
    streaming: int | None = Field(default=None, ge=2, exclude_if=lambda size: size is None)
    """Read rows of your own while training goes on, so many at a time, which are shuffled among
    themselves: of a source that memory does not hold. Validation and test are the first rows of
    their files, or else of the train rows. Absent: all rows are read at the start."""
    num_validation: Size = 256
    """Validation problems, used to choose the best expert; `"all"`: every validation row of a
    source that has such rows."""
    num_test: Size = 500
    """Test problems, used once, at the end; `"all"`: every test row of a source that has such
    rows."""

    @field_validator("num_validation", "num_test", mode="wrap")
    @classmethod
    def _counts_or_is_all(
        cls, size: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        try:
            return read(size)
        except ValidationError as error:  # told once, not for each kind of value
            raise ValueError(
                f"task.{info.field_name} must be a whole number of at least 1, or 'all', got "
                f"{size!r:.80}."
            ) from error

    @field_validator("streaming", mode="before")
    @classmethod
    def _is_a_size(cls, size: Any) -> Any:
        if isinstance(size, bool):  # which pydantic takes for a number
            raise ValueError(
                "task.streaming must be how many rows are read and shuffled at a time, such as "
                f"10000, got {str(size).lower()}."
            )
        return size

    @property
    def source(self) -> str:
        """What texts call it: the path of rows, whatever their format, or the name."""
        return self.path or self.name

    @model_validator(mode="before")
    @classmethod
    def _rows_if_only_a_path(cls, section: Any) -> Any:
        if isinstance(section, dict) and section.get("path") and "name" not in section:
            return section | {"name": "jsonl"}
        return section


OWN_ROWS = ("jsonl", "hub")
"""Tasks of the user's own rows, named by how these are read: neither what they are nor which reward
judges them can be told by that."""


def task_called(section: Mapping[str, Any]) -> str:
    """What people call a task: by its file or data set where its name says neither.

    >>> task_called({"name": "jsonl", "path": "in/rows.csv"}), task_called({"name": "gsm8k"})
    ('rows.csv', 'gsm8k')
    """
    name, path = str(section.get("name") or ""), str(section.get("path") or "")
    if name not in OWN_ROWS or not path:
        return name
    return PurePath(path).name if name == "jsonl" else path


def problem_called(id: str, source: str) -> str:
    """What people call a problem: of rows of their own by file, split and row.

    >>> problem_called("jsonl/train/0", "in/rows.csv"), problem_called("swap/3714", "tiny/swap")
    ('rows.csv, train row 1', 'swap/3714')
    """
    name, _, place = id.partition("/")
    split, _, index = place.partition("/")
    if name not in OWN_ROWS or not index.isdecimal():
        return id
    return f"{PurePath(source).name}, {split} row {int(index) + 1}"
