"""`jsonl` and `hub`: rows of the user's own, whose prompts are a column or built of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Literal

from rlpeft.errors import ConfigError, DataError
from rlpeft.image_files import images_of
from rlpeft.recipe.columns import has_column
from rlpeft.recipe.run import Section
from rlpeft.recipe.templates import Template
from rlpeft.tasks.base import Split, Task
from rlpeft.tasks.builder import Asked, TaskBuilder
from rlpeft.tasks.forms import Columns, columns_in, gold_at
from rlpeft.tasks.golds import gold_parts, refuse_gold
from rlpeft.tasks.jsonl import Row
from rlpeft.tasks.rows import (
    Item,
    RowProblem,
    as_prompt,
    bare_prompt,
    chat_prompt,
    column,
    row_maker,
    row_task,
)
from rlpeft.tasks.sources import read_tables, stream_tables
from rlpeft.tasks.stream import RowSource
from rlpeft.tasks.streamed import stream_task
from rlpeft.types import Prompt

TEMPLATE = "task.options.template"


class RowOptions(Section):
    """Options of `jsonl` and `hub`."""

    prompt: str | None = None
    """Column of the prompt: text, or a list of chat turns; dots read into dicts. Absent: `prompt`,
    or `messages` where rows have that and no `prompt`."""
    answer: str | None = None
    """Column of the gold answer, dots read into dicts; empty if the reward needs none. Absent: the
    first that rows have of `answer`, `reward_model.ground_truth` (verl's), `solution` and
    `completion` (TRL's)."""
    template: str | None = None
    """Prompt built of columns, such as `"Question: {question}\\nAnswer:"`, instead of `prompt`.
    `{{` and `}}` are the braces themselves."""
    answer_in_prompt: bool = False
    """Let the prompt hold the column of the gold answer."""
    system: str = ""
    """System turn; needs `chat`."""
    chat: bool = False
    """Give a text prompt as a user turn."""
    last_turn: Literal["prefill", "answer"] | None = None
    """What a last turn by the assistant is: `prefill`, how the model's answer begins, or `answer`,
    which is taken out of the prompt, and is the gold answer where the row has no column of one."""
    image: str | None = None
    """Column of the image that a prompt shows before its text, for a vision-language model: the
    path of a PNG, JPEG or WebP file, or a list of some, relative to the file of rows."""
    special_tokens: bool = False
    """Take names of control tokens in prompts for those tokens (rows that bring their own chat
    template, fill-in-the-middle); otherwise they are letters."""
    config: str | None = None
    """Configuration of a Hub dataset."""
    splits: dict[Split, str] = {}
    """Splits of a Hub dataset by ours, `{ train = "train_sft[:5000]", test = "test_sft" }`;
    absent: those that are called train, validation (valid, val, dev) and test."""
    seed: int = 0
    """Decides which rows become validation and test where the source has no such split."""


def build_rows(asked: Asked, options: RowOptions) -> Task:
    """Problems of the user's own rows.

    Raises:
        ConfigError: options that do not go together, or a prompt that holds the gold answer.
        DataError: no path, or rows that cannot fill the splits.
    """
    if not asked.path:
        raise DataError(f"task.path must be given for {asked.name!r}: a file, folder or Hub id.")
    if options.system and not options.chat:
        raise ConfigError(
            "task.options.system needs task.options.chat = true. For plain text write it into "
            "task.options.template."
        )
    if options.image is not None and not Path(asked.path).exists():
        raise DataError(
            f"task.options.image names files beside the rows of a local file or folder, task.path "
            f"is {asked.path!r}. Download the dataset, and give its folder."
        )
    lone = asked.only or "train"
    if asked.streaming is not None:
        config, splits = options.config, options.splits
        sources = stream_tables(asked.path, lone=lone, config=config, splits=splits)
        return _streamed(asked, asked.streaming, sources, options)
    tables = read_tables(asked.path, lone=lone, config=options.config, splits=options.splits)
    problem, made_of = _reading(asked, next(chain(*tables.values()), {}), options)
    task = row_task(
        asked.name,
        tables,
        problem,
        counts=asked.counts,
        seed=options.seed,
        only=asked.only,
        source=asked.path,
    )
    return replace(task, made_of=made_of)


def _streamed(
    asked: Asked, size: int, sources: Mapping[Split, RowSource], options: RowOptions
) -> Task:
    """The task of rows that are read a block at a time."""
    first = next(iter(sources.values())).blocks(None, 1)
    problem, made_of = _reading(asked, next(first, ([{}], None))[0][0], options)
    return stream_task(asked, size, sources, problem, made_of=made_of)


def _reading(asked: Asked, first: Row, options: RowOptions) -> tuple[RowProblem, Sequence[str]]:
    """What makes problems of rows such as the first, and the columns that prompts are made of.

    Raises:
        ConfigError: a prompt holds the gold answer.
    """
    columns = columns_in(first, options.prompt, options.answer)
    template = None if options.template is None else Template.parse(options.template, TEMPLATE)
    made_of = (columns.prompt,) if template is None else template.columns
    if options.answer_in_prompt:
        made_of = ()
    refuse_gold(made_of, columns.answer)
    problem = row_maker(
        asked.name,
        lambda row: _shown(_row_item(row, columns, options, template), row, options, asked.path),
        chat_prompt if options.chat else bare_prompt,
        special_tokens=options.special_tokens,
        source=asked.path or "",
    )
    return problem, made_of


def _row_item(row: Row, columns: Columns, options: RowOptions, template: Template | None) -> Item:
    user: Prompt
    if template is None:
        where = "task.options.prompt, or build the prompt by task.options.template"
        user = as_prompt(column(row, columns.prompt, option=where))
    else:
        user = template.fill(row, TEMPLATE)
    user, said = _without_answer(user, options)
    answer, kept = gold_parts("")
    if said is not None and not (columns.answer and has_column(row, columns.answer)):
        answer = said
    elif columns.answer:
        column(row, columns.answer, option="task.options.answer")  # there, and not null
        answer, kept = gold_parts(gold_at(row, columns.answer))
    return Item(user=user, answer=answer, system=options.system, columns=kept)


def _shown(item: Item, row: Row, options: RowOptions, path: str | None) -> Item:
    """The item with the images that its row names."""
    if options.image is None:
        return item
    here = Path(path or "").expanduser()
    value = column(row, options.image, option="task.options.image")
    return replace(item, images=images_of(value, here if here.is_dir() else here.parent))


def _without_answer(user: Prompt, options: RowOptions) -> tuple[Prompt, str | None]:
    """The prompt, and what a last turn by the assistant says where that is the gold answer.

    Raises:
        DataError: there is such a turn and `last_turn` does not say what it is, or no such turn
            where it shall be the answer.
    """
    turns = () if isinstance(user, str) else user
    said = str(turns[-1]["content"]) if turns and turns[-1]["role"] == "assistant" else None
    if said is not None and options.last_turn is None:
        raise DataError(
            f"must have a prompt that the model is to answer, it ends in a turn by the assistant, "
            f"{said!r:.60}. Set task.options.last_turn = 'answer' to take it out as the gold "
            "answer, or 'prefill' where the model's answer begins so"
        )
    if options.last_turn != "answer":
        return user, None
    if said is None or len(turns) < 2:
        raise DataError(
            "must have a prompt of chat turns, the last by the assistant, since "
            "task.options.last_turn = 'answer'"
        )
    return turns[:-1], said


ROWS = TaskBuilder(RowOptions, build_rows, streams=True)
