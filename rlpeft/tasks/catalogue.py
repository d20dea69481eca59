"""Every task by name, and the options each takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from rlpeft.errors import ConfigError, DataError
from rlpeft.recipe.run import Section, TaskConfig
from rlpeft.recipe.templates import HINT, Template
from rlpeft.suggest import did_you_mean
from rlpeft.tasks.arithmetic import arithmetic_task
from rlpeft.tasks.base import ProblemSet, Split, Task
from rlpeft.tasks.benchmarks import BENCHMARKS
from rlpeft.tasks.golds import COLUMN, gold_parts
from rlpeft.tasks.jsonl import Row
from rlpeft.tasks.kinds import KindOptions, kind_task
from rlpeft.tasks.rows import (
    Item,
    as_prompt,
    bare_prompt,
    chat_prompt,
    column,
    instruction_prompt,
    row_task,
)
from rlpeft.tasks.sources import read_tables
from rlpeft.tasks.tiny import TASKS, tiny_task
from rlpeft.types import Prompt


class TinyOptions(Section):
    """Options of `tiny/…`."""

    chat: bool = False
    """Give the problem as a user turn instead of plain text."""
    seed: int = 0
    """Order of the problems, and which of them are validation and test."""


class ArithmeticOptions(Section):
    """Options of `arithmetic`."""

    operations: tuple[str, ...] = ("+", "*")
    """Of `+` and `*`."""
    num_shots: Annotated[int, Field(ge=0, le=16)] = 3
    """Solved examples before the question."""
    num_train: Annotated[int, Field(ge=1)] = 2000
    """Train problems."""
    seed: int = 0
    """Decides pairs, shots and order."""


class BenchmarkOptions(Section):
    """Options of the public benchmarks."""

    chat: bool = True
    """Chat turns; otherwise one plain instruction form, for models without a chat template."""
    seed: int = 0
    """Decides which rows become validation and test where the source has no such split."""


class RowOptions(Section):
    """Options of `jsonl` and `hub`."""

    prompt: str = "prompt"
    """Column of the prompt: text, or a list of chat turns."""
    answer: str = "answer"
    """Column of the gold answer; empty if the reward needs none."""
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
    special_tokens: bool = False
    """Take names of control tokens in prompts for those tokens (rows that bring their own chat
    template, fill-in-the-middle); otherwise they are letters."""
    config: str | None = None
    """Configuration of a Hub dataset."""
    seed: int = 0
    """Decides which rows become validation and test where the source has no such split."""


GENERATED = ("arithmetic", "kind")
"""Tasks that read no rows of their own, beside `tiny/…`."""

AnyOptions = TypeVar("AnyOptions", bound=Section)

TEMPLATE = "task.options.template"


def load_task(config: TaskConfig, *, only: Split | None = None) -> Task:
    """Load the task a recipe names.

    Args:
        only: the one split that is needed. A single file of rows is that split, whole, and nothing
            is carved from rows that the source gives to it.

    Raises:
        ConfigError: an option the task does not take, or a path it would not read.
        DataError: an unknown task, or data that cannot fill its splits.
    """
    if config.path is not None and (config.name.startswith("tiny/") or config.name in GENERATED):
        raise ConfigError(
            f"task.path must be absent for task.name = {config.name!r}, whose problems are "
            f"generated, got {config.path!r}. For rows of your own set task.name = 'jsonl'."
        )
    if config.name.startswith("tiny/"):
        options = _options(config, TinyOptions)
        return tiny_task(
            config.name,
            num_validation=config.num_validation,
            num_test=config.num_test,
            chat=options.chat,
            seed=options.seed,
        )
    build = _BUILDERS.get(config.name)
    if build is None:
        known = [*(f"tiny/{skill}" for skill in TASKS), *_BUILDERS]
        near = did_you_mean(config.name, known)
        raise DataError(f"task.name must be one of {', '.join(known)}, got {config.name!r}.{near}")
    return build(config, only)


def _options(config: TaskConfig, schema: type[AnyOptions]) -> AnyOptions:
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


def _counts(config: TaskConfig) -> dict[Split, int]:
    return {"validation": config.num_validation, "test": config.num_test}


def _arithmetic(config: TaskConfig, only: Split | None) -> ProblemSet:
    options = _options(config, ArithmeticOptions)
    return arithmetic_task(
        operations=options.operations,
        num_shots=options.num_shots,
        counts={"train": options.num_train, **_counts(config)},
        seed=options.seed,
    )


def _benchmark(config: TaskConfig, only: Split | None) -> ProblemSet:
    benchmark, options = BENCHMARKS[config.name], _options(config, BenchmarkOptions)
    path = config.path or benchmark.hub
    if not path:
        raise DataError(f"task.path must name a JSONL file or folder for {config.name!r}.")
    # A file that holds several splits is taken apart, whatever it is read for.
    lone = benchmark.lone if only is None or benchmark.resplit else only
    tables = read_tables(path, stem=config.name, lone=lone, config=benchmark.config)
    if benchmark.resplit and len(tables) == 1:
        tables = benchmark.resplit([row for rows in tables.values() for row in rows])
    return row_task(
        config.name,
        tables,
        benchmark.template,
        prompt=chat_prompt if options.chat else instruction_prompt,
        counts=_counts(config),
        seed=options.seed,
        only=only,
        source=path,
    )


def _kind(config: TaskConfig, only: Split | None) -> ProblemSet:
    return kind_task(_options(config, KindOptions), _counts(config), load_task)


def _rows(config: TaskConfig, only: Split | None) -> ProblemSet:
    options = _options(config, RowOptions)
    if not config.path:
        raise DataError(f"task.path must be given for {config.name!r}: a file, folder or Hub id.")
    if options.system and not options.chat:
        raise ConfigError(
            "task.options.system needs task.options.chat = true. For plain text write it into "
            "task.options.template."
        )
    template = None if options.template is None else Template.parse(options.template, TEMPLATE)
    _refuse_gold(options, (options.prompt,) if template is None else template.columns)
    return row_task(
        config.name,
        read_tables(config.path, lone=only or "train", config=options.config),
        lambda row: _row_item(row, options, template),
        prompt=chat_prompt if options.chat else bare_prompt,
        counts=_counts(config),
        seed=options.seed,
        only=only,
        special_tokens=options.special_tokens,
        source=config.path,
    )


def _refuse_gold(options: RowOptions, read: Sequence[str]) -> None:
    """Refuse a prompt that holds the gold answer, unless it is asked for."""
    if options.answer in read and not options.answer_in_prompt:
        raise ConfigError(
            f"the prompt must not hold the gold answer, it is made of the column "
            f"{options.answer!r}: the model would only have to copy. {HINT}, such as "
            f"\\boxed{{{{{options.answer}}}}}; if the prompt shall hold it, set "
            "task.options.answer_in_prompt = true."
        )


def refuse_golds(config: TaskConfig, columns: Iterable[str]) -> None:
    """Refuse rows whose prompts are made of a column that a reward compares with.

    Args:
        columns: where rewards find gold answers; dots read into dicts.

    Raises:
        ConfigError: names the column.
    """
    if config.name not in ("jsonl", "hub"):
        return
    options = _options(config, RowOptions)
    # Under this name rewards get the task's own gold answer, whatever its column is called.
    names = {name.partition(".")[0] for name in columns} - {COLUMN}
    read: Sequence[str] = (options.prompt,)
    if options.template is not None:
        read = Template.parse(options.template, TEMPLATE).columns
    for name in sorted(names):
        _refuse_gold(options.model_copy(update={"answer": name}), read)


def _row_item(row: Row, options: RowOptions, template: Template | None) -> Item:
    user: Prompt
    if template is None:
        where = "task.options.prompt, or build the prompt by task.options.template"
        user = as_prompt(column(row, options.prompt, option=where))
    else:
        user = template.fill(row, TEMPLATE)
    user, said = _without_answer(user, options)
    answer, columns = gold_parts("")
    if said is not None and row.get(options.answer) is None:
        answer = said
    elif options.answer:
        answer, columns = gold_parts(column(row, options.answer, option="task.options.answer"))
    return Item(user=user, answer=answer, system=options.system, columns=columns)


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


_BUILDERS: dict[str, Callable[[TaskConfig, Split | None], ProblemSet]] = {
    "arithmetic": _arithmetic,
    "kind": _kind,
    "jsonl": _rows,
    "hub": _rows,
    **dict.fromkeys(BENCHMARKS, _benchmark),
}
