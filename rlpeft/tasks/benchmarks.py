"""Public benchmarks: where each lies on the Hub, and how a row becomes a problem.

Instructions follow Transformer² (arXiv 2501.06252, appendix and code), with its faults mended:
worked GSM8K answers keep thousands separators and signs; ARC's numeric answer keys become
letters; a prefill is part of the prompt, so that training and sampling see the same tokens.
Rows are read in the Hub's form and in the flat `question`, `answer` form that local copies have.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from rlpeft.errors import DataError
from rlpeft.recipe.run import Section
from rlpeft.tasks.base import ProblemSet, Split
from rlpeft.tasks.builder import Asked, TaskBuilder
from rlpeft.tasks.folder import Tables
from rlpeft.tasks.jsonl import Row
from rlpeft.tasks.rows import (
    Item,
    RowReader,
    chat_prompt,
    column,
    instruction_prompt,
    row_maker,
    row_task,
)
from rlpeft.tasks.sources import read_tables

LETTERS = "ABCDEFGHIJ"

SOLVE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
BOXED = (
    "Solve the question below by reasoning step by step, and put the final answer within \\boxed{}."
)
CHOOSE = (
    "The following are multiple choice questions (with answers). Think step by step and then "
    'finish your answer with "the answer is (X)" where X is the correct letter choice.'
)
STEPWISE = "Let's think step by step"
CODE = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate "
    "and reliable responses to user instructions."
)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Where a benchmark's rows come from and what its template is.

    Attributes:
        hub: dataset id used when `task.path` is absent; empty where no copy is known.
        template: makes an `Item` of a row.
        config: Hub configuration.
        lone: the split that a single local file is.
        resplit: takes the rows of a single file apart by the published numbering.
    """

    hub: str
    template: RowReader
    config: str | None = None
    lone: Split = "train"
    resplit: Callable[[list[Row]], Tables] | None = None


def gsm8k(row: Row) -> Item:
    """Worked solutions end in `#### N`; N is the gold answer."""
    solution = str(column(row, "answer"))
    _, marker, answer = solution.rpartition("####")
    if not marker or not answer.strip():
        raise DataError(f"must have an answer that ends in '#### number', got {solution[-40:]!r}")
    return Item(
        user=column(row, "question"),
        answer=answer.strip(),
        system=SOLVE,
        columns={"solution": solution},
    )


def math500(row: Row) -> Item:
    """MATH: problem text and a LaTeX answer."""
    return Item(user=column(row, "problem"), answer=str(column(row, "answer")), system=BOXED)


def word_problem(row: Row) -> Item:
    """MAWPS and SVAMP: a short question and a number."""
    body = row.get("Body")
    question = column(row, "question", "Question")
    return Item(
        user=f"{body} {question}" if body else question,
        answer=_number(column(row, "answer", "Answer")),
        system=SOLVE,
    )


def _number(value: object) -> str:
    text = str(value)
    return text.removesuffix(".0")


def aqua(row: Row) -> Item:
    """AQuA-RAT: the answer is a letter; the options stand apart or inside the question."""
    question = column(row, "question")
    if "options" in row:
        question += " Answer Choices: " + " ".join(f"({text}" for text in row["options"])
    return Item(
        user=question,
        answer=str(column(row, "correct", "answer")),
        system=CHOOSE,
        prefill=STEPWISE,
    )


def arc(row: Row) -> Item:
    """ARC: options are shown as letters, whatever the row's keys are, and so is the answer."""
    question, options, index = _hub_choices(row) if "choices" in row else _flat_choices(row)
    shown = "\n".join(f"{LETTERS[place]}. {text}" for place, text in enumerate(options))
    return Item(
        user=f"{question}\nOptions:\n{shown}",
        answer=LETTERS[index],
        system=CHOOSE,
        prefill=STEPWISE,
        columns={"num_options": len(options)},
    )


def _hub_choices(row: Row) -> tuple[str, list[str], int]:
    choices, key = row["choices"], str(column(row, "answerKey"))
    labels = [str(name) for name in choices["label"]]
    if key not in labels or len(labels) > len(LETTERS):
        raise DataError(f"must have an answerKey among its labels {labels}, got {key!r}")
    return column(row, "question"), list(choices["text"]), labels.index(key)


def _flat_choices(row: Row) -> tuple[str, list[str], int]:
    text = str(column(row, "question")).partition("\n\nAnswer format:")[0]
    stem, *options = re.split(r"\s*Answer\d+: ", text)
    stem = stem.removeprefix("Please choose the correct answer to the question: ")
    key = str(column(row, "answer"))
    number = key.removeprefix("answer")
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= len(options):
        raise DataError(
            f"must have an answer from 'answer1' to 'answer{len(options)}', got {key!r}"
        )
    return stem, options, int(number) - 1


def mbpp(row: Row) -> Item:
    """MBPP: the first assertion is shown, all of them are the gold answer."""
    tests = column(row, "test_list")
    task = str(column(row, "text", "prompt")).rstrip(" .")
    shown = f"```python\n{tests[0]}\n```"
    # The full set has set-up code, the sanitized one imports.
    prelude = [*(row.get("test_imports") or ()), row.get("test_setup_code") or ""]
    return Item(
        user=f"{task}. Your code should satisfy the following assertion:\n{shown}",
        answer="\n".join([*filter(None, prelude), *tests]),
        system=CODE,
        prefill="```python\n",
    )


def mbpp_splits(rows: list[Row]) -> Tables:
    """The published numbering: 11–510 test, 511–600 validation, 601–974 train, 1–10 few-shot."""
    tables: Tables = {"train": [], "validation": [], "test": []}
    for row in rows:
        number = int(column(row, "task_id"))
        if number > 600:
            tables["train"].append(row)
        elif number > 510:
            tables["validation"].append(row)
        elif number > 10:
            tables["test"].append(row)
    return {split: rows for split, rows in tables.items() if rows}


def humaneval(row: Row) -> Item:
    """HumanEval: the model goes on from the signature; the gold answer is the test program."""
    code = column(row, "prompt")
    return Item(
        user=f"Write a solution to the following problem:\n```python\n{code}\n```",
        answer=f"{column(row, 'test')}\ncheck({column(row, 'entry_point')})\n",
        system=CODE,
        prefill=f"```python\n{code}",
    )


BENCHMARKS: dict[str, Benchmark] = {
    "gsm8k": Benchmark("openai/gsm8k", gsm8k, config="main"),
    "math500": Benchmark("HuggingFaceH4/MATH-500", math500, lone="test"),
    "mawps": Benchmark("", word_problem),
    "svamp": Benchmark("ChilleD/SVAMP", word_problem, lone="test"),
    "aqua": Benchmark("deepmind/aqua_rat", aqua, config="raw", lone="test"),
    "arc_easy": Benchmark("allenai/ai2_arc", arc, config="ARC-Easy"),
    "arc_challenge": Benchmark("allenai/ai2_arc", arc, config="ARC-Challenge"),
    "mbpp": Benchmark("google-research-datasets/mbpp", mbpp, config="full", resplit=mbpp_splits),
    "humaneval": Benchmark("openai/openai_humaneval", humaneval, lone="test"),
}


class BenchmarkOptions(Section):
    """Options of the public benchmarks."""

    chat: bool = True
    """Chat turns; otherwise one plain instruction form, for models without a chat template."""
    seed: int = 0
    """Decides which rows become validation and test where the source has no such split."""


def _build(asked: Asked, options: BenchmarkOptions) -> ProblemSet:
    benchmark = BENCHMARKS[asked.name]
    path = asked.path or benchmark.hub
    if not path:
        raise DataError(f"task.path must name a JSONL file or folder for {asked.name!r}.")
    # A file that holds several splits is taken apart, whatever it is read for.
    lone = benchmark.lone if asked.only is None or benchmark.resplit else asked.only
    tables = read_tables(path, stem=asked.name, lone=lone, config=benchmark.config)
    if benchmark.resplit and len(tables) == 1:
        tables = benchmark.resplit([row for rows in tables.values() for row in rows])
    prompt = chat_prompt if options.chat else instruction_prompt
    return row_task(
        asked.name,
        tables,
        row_maker(asked.name, benchmark.template, prompt, source=path),
        counts=asked.counts,
        seed=options.seed,
        only=asked.only,
        source=path,
    )


BENCHMARK = TaskBuilder(BenchmarkOptions, _build)
