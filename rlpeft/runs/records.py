"""A run's records: one line of metrics and one table of completions for every step.

    run/recipe.json                        what was asked for
    run/metrics.jsonl                      {"step": 3, "reward": 0.6, ...}, one line a step
    run/completions/step_00000003.parquet  every completion with its verdict and advantage
    run/test.parquet                       every answer to a test problem, of base and expert

Column and metric names are TRL's where TRL has one. A line is whole or is dropped: a crash in the
middle of writing one costs that step's line alone, and the step is run again.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rlpeft.errors import DataError, FileError
from rlpeft.files import (
    append,
    read_json_if_there,
    read_text,
    reason,
    replacing,
    write_json,
    write_jsonl,
)
from rlpeft.runs.failures import tell_failures
from rlpeft.runs.reporting import MOST_ROWS, Reporting
from rlpeft.runs.specimen import TOKENS, specimens
from rlpeft.types import AdvantagedGroup, Completion, Problem, ScoredGroup

METRICS_FILE, RECIPE_FILE, COMPLETIONS_FOLDER = "metrics.jsonl", "recipe.json", "completions"
TEST_FILE = "test.parquet"
REPORTED = ("prompt", "completion", "answer", "verdict", "reason", "reward", "advantage")
"""Columns of completions that trackers are given."""
TOKENS_COLUMN = "tokens"
"""Of completion files: one rollout of the step token by token, null in all other rows."""


class RunRecorder:
    """Fulfils `rlpeft.training.loop.Recorder` in a run folder, and in trackers.

    Args:
        folder: the run folder; records already there are kept until `rewind`.
        recipe: as JSON has it, to be kept beside the records.
        report_to: names of trackers, as in `train.report_to`.
        tokenizer: the model's; absent: no rollout is recorded token by token.

    Raises:
        ConfigError: a tracker is not installed, or is set up wrongly.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Mapping[str, Any],
        *,
        report_to: Sequence[str] = (),
        tokenizer: Any = None,
    ) -> None:
        self.folder, self._tokenizer = folder, tokenizer
        self._told: set[str] = set()
        self.reporting = Reporting(folder, recipe, report_to)
        write_json(folder / RECIPE_FILE, recipe)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line; NaN and infinity become `null`, which JSON has."""
        row = {"step": step, **{name: _finite(value) for name, value in values.items()}}
        append(self.folder / METRICS_FILE, (json.dumps(row) + "\n").encode())
        self.reporting.metrics(step, values)

    def completions(self, step: int, groups: Sequence[AdvantagedGroup]) -> None:
        """Write one Parquet file, see `completions_table`; new causes of failures are told."""
        tell_failures(groups, self._told)
        table = completions_table(step, groups)
        if self.reporting.takes_rows:
            self.reporting.completions(table.select(REPORTED).slice(0, MOST_ROWS).to_pylist())
        if self._tokenizer is not None:
            tokens = specimens(groups, self._tokenizer)
            table = table.append_column(TOKENS_COLUMN, pa.array(tokens, TOKENS))
        with replacing(completions_path(self.folder, step)) as partial:
            pq.write_table(table, partial)

    def rewind(self, step: int) -> None:
        """Forget every later step, and a last line that was cut off; warn of steps without one."""
        kept = [row for row in read_metrics(self.folder) if row["step"] <= step]
        self._warn_of_gaps({row["step"] for row in kept}, step)
        write_jsonl(self.folder / METRICS_FILE, kept)
        for path in completions_steps(self.folder):
            if path > completions_path(self.folder, step):
                path.unlink()
        self.reporting.rewind(step)

    def close(self) -> None:
        """Close the trackers. May be called twice."""
        self.reporting.close()

    def _warn_of_gaps(self, known: Set[int], step: int) -> None:
        missing = [number for number in range(step + 1) if number not in known]
        if missing:
            warnings.warn(
                f"{str(self.folder / METRICS_FILE)!r} has lost the lines of {len(missing)} of "
                f"{step + 1} steps, the first of step {missing[0]}. The run continues exactly, "
                "from its checkpoint; its report will lack them.",
                stacklevel=3,
            )


def completions_table(step: int, groups: Sequence[AdvantagedGroup]) -> pa.Table:
    """Every completion of a step, a row each, in order of groups and members.

    Columns: `step`, `problem`, `prompt`, `completion`, one score for each reward, `advantage` and
    what rewards recorded with `log_extra`, as TRL has them; beside them `reward` (the weighted
    sum), `verdict`, `reason`, `extracted`, `answer`, `finish_reason`, `num_tokens`, `version`, and
    of a recipe of several tasks `task`; the scores of rewards that a task lacks are null. Where
    prompts show images, `images` tells their paths, digests and sizes. A reward or an extra column
    of one of these names, or `tokens`, is kept as `extra/<name>`.
    """
    advantages = [advantage for scored in groups for advantage in scored.advantages]
    step_column = {"step": [step] * len(advantages)}
    return _table({**step_column, **_answers(groups), "advantage": advantages}, groups)


def write_test(folder: Path, by_policy: Mapping[str, Sequence[ScoredGroup]]) -> None:
    """Write what each policy answered to the test problems, into `test.parquet` of a run.

    Columns: `policy` (`base`, `start` or `expert`), then those of `completions_table` that an
    answer has which nothing is learnt from.
    """
    groups = [scored for own in by_policy.values() for scored in own]
    policies = [name for name, own in by_policy.items() for each in own for _ in each.verdicts]
    table = _table({"policy": policies, **_answers(groups)}, groups)
    with replacing(folder / TEST_FILE) as partial:
        pq.write_table(table, partial)


def _answers(groups: Sequence[ScoredGroup]) -> dict[str, list[Any]]:
    """A row for each completion: what was asked, what it is, and what it is worth."""
    problems = [scored.group.problem for scored in groups for _ in scored.group.completions]
    completions = [done for scored in groups for done in scored.group.completions]
    verdicts = [verdict for scored in groups for verdict in scored.verdicts]
    return {
        "problem": [problem.id for problem in problems],
        **({"task": [problem.task for problem in problems]} if problems[0].task else {}),
        "prompt": [prompt_text(problem) for problem in problems],
        **({"images": images} if any(images := list(map(image_records, problems))) else {}),
        "completion": [said(done) for done in completions],
        "reward": [verdict.score for verdict in verdicts],
        "verdict": [verdict.kind.value for verdict in verdicts],
        "reason": [verdict.reason for verdict in verdicts],
        "extracted": [verdict.extracted for verdict in verdicts],
        "answer": [problem.answer for problem in problems],
        "finish_reason": [done.finish_reason.value for done in completions],
        "num_tokens": [sum(done.own) for done in completions],
        "version": [done.version for done in completions],
    }


def _table(columns: Mapping[str, list[Any]], groups: Sequence[ScoredGroup]) -> pa.Table:
    """The columns and, behind them, what rewards recorded and their own scores."""
    own = {*columns, TOKENS_COLUMN}
    recorded = {f"extra/{n}" if n in own else n: v for n, v in _recorded(groups).items()}
    return pa.table({name: _array(values) for name, values in {**columns, **recorded}.items()})


def _recorded(groups: Sequence[ScoredGroup]) -> dict[str, list[Any]]:
    """What rewards recorded, of some batches perhaps alone, then their own scores."""
    columns: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for scored in groups for name in scored.columns):
        each = [s.columns.get(name, (None,) * len(s.verdicts)) for s in groups]
        columns[name] = [value for values in each for value in values]
    for name in dict.fromkeys(name for scored in groups for name in scored.by_reward):
        scores = [[v.score for v in s.by_reward.get(name, ())] for s in groups]
        padded = [own or [None] * len(s.verdicts) for own, s in zip(scores, groups, strict=True)]
        columns[name] = [score for own in padded for score in own]
    return columns


def prompt_text(problem: Problem) -> str:
    """A prompt for a person to read; chat turns as `role: content`."""
    if isinstance(problem.prompt, str):
        return problem.prompt
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in problem.prompt)


def image_records(problem: Problem) -> list[dict[str, Any]]:
    """The images that a prompt shows, as tables have them."""
    return [
        {"path": image.path, "digest": image.digest, "width": width, "height": height}
        for image in problem.images
        for width, height in [image.size]
    ]


def said(completion: Completion) -> str:
    """A completion for a person to read; turns of a conversation as `policy: text`."""
    if completion.conversation is None:
        return completion.text
    turns = completion.conversation.turns
    return "\n\n".join(
        f"{'policy' if turn.is_own else 'environment'}: {turn.text}" for turn in turns
    )


def completions_path(folder: Path, step: int) -> Path:
    """Where the completions of a step lie; names sort as steps do."""
    return folder / COMPLETIONS_FOLDER / f"step_{step:08d}.parquet"


def completions_steps(folder: Path) -> list[Path]:
    """The completion files of a run, oldest first."""
    return sorted((folder / COMPLETIONS_FOLDER).glob("step_*.parquet"))


def read_completions(path: Path) -> list[dict[str, Any]]:
    """The rows of one step's file.

    Raises:
        DataError: it is damaged.
    """
    try:
        return pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        cause = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(
            f"{str(path)!r} must be a whole Parquet file, got: {cause:.200}. Delete it: what it "
            "holds is for reading alone."
        ) from error


def specimen_rows(folder: Path, most: int = 64) -> list[list[int]]:
    """Token ids of the specimens of a run's last steps, each a prompt with its answer.

    Raises:
        DataError: a file of completions is damaged.
    """
    tokens = [
        row[TOKENS_COLUMN]
        for path in completions_steps(folder)[-most:]
        for row in read_completions(path)
        if row.get(TOKENS_COLUMN)
    ]
    return [found["prompt"]["ids"] + found["sampled"]["ids"] for found in tokens]


def require_metrics(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a run, of which there must be a step's.

    Raises:
        DataError: it has none, or damaged ones.
    """
    if rows := read_metrics(folder):
        return rows
    raise DataError(
        f"a report needs a run folder with metrics.jsonl, {str(folder)!r} has none or an empty "
        "one. Name the folder that `rlpeft train` wrote."
    )


def read_kept_recipe(path: Path) -> dict[str, Any]:
    """A recipe as a run or search keeps it in `RECIPE_FILE`; empty where there is none.

    Raises:
        FileError: it is damaged.
    """
    mend = "Restore it, or choose another folder."
    kept = read_json_if_there(path, mend=mend) or {}
    for name in ("adapter", "chat", "resources", "train"):
        if not isinstance(kept.get(name, {}), dict):
            raise FileError(
                f"{str(path)!r} must be a recipe, its {name} is {kept[name]!r:.60}. {mend}"
            )
    return kept


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a run, a dict each step; a last line that was cut off is left out.

    Raises:
        DataError: another line cannot be read.
    """
    path = folder / METRICS_FILE
    text = read_text(path, DataError) if path.exists() else ""
    rows = []
    # What follows the last newline was cut off in writing.
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"line {number} of {str(path)!r} must be JSON, got {line[:60]!r} "
                f"({reason(error)}). Remove that line."
            ) from error
        if not isinstance(row, dict) or type(row.get("step")) is not int:
            raise DataError(
                f"line {number} of {str(path)!r} must be an object with a whole 'step', got "
                f"{line[:60]!r}. Remove that line."
            )
        if strange := [name for name, value in row.items() if not _is_figure(value)]:
            raise DataError(
                f"line {number} of {str(path)!r} must hold numbers, {strange[0]!r:.80} is "
                f"{row[strange[0]]!r:.60}. Remove that line."
            )
        rows.append(row)
    return rows


def _is_figure(value: Any) -> bool:
    """A number that a float can hold, or `None`, which stands for NaN."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (is_number and abs(value) <= sys.float_info.max)


OWN_METRICS = frozenset(
    (
        "step",
        "epoch",
        "step_time",
        "reward",
        "reward_std",
        "frac_reward_zero_std",
        "resampled_groups",
        "num_tokens",
        "loss",
        "auxiliary_loss",
        "entropy",
        "kl",
        "grad_norm",
        "learning_rate",
        "mean_token_accuracy",
    )
)
OWN_PREFIXES = (
    "completions/",
    "curvature/",
    "environment/",
    "eval_",
    "extra/",
    "gain/",
    "perf/",
    "rewards/",
    "router/",
    "sample/",
    "sampling/",
    "sync/",
    "tasks/",
    "verdicts/",
)
"""Names of ours, whether a step has them or not: a column must not change its meaning."""


def recorded_metrics(values: Mapping[str, float]) -> dict[str, float]:
    """What rewards recorded with `log_metric`; one of our names is kept as `extra/<name>`."""
    return {
        f"extra/{name}" if name in OWN_METRICS or name.startswith(OWN_PREFIXES) else name: value
        for name, value in values.items()
    }


def _finite(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _array(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError):
        # Mixed kinds, huge integers or broken Unicode: rewards may record anything.
        return pa.array([None if value is None else _text(value) for value in values])


def _text(value: Any) -> str:
    try:
        text = str(value)
    except ValueError:  # Python refuses to print integers beyond 4300 digits
        text = f"<{type(value).__name__}>"
    return text.encode("utf-8", "replace").decode()
