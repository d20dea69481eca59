"""Every completion of an evaluation, in Parquet: what its figures are made of, and go on from.

    OUT/completions/batch_00000003.parquet   one batch of answers, whole or not there

Any reader of Parquet takes the folder as one table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.evaluation.asked import Survey
from jobs.evaluation.plan import AnswerBatch
from rlpeft.errors import CheckpointError
from rlpeft.files import remove, replacing
from rlpeft.runs.records import COMPLETIONS_FOLDER, prompt_text, said
from rlpeft.types import ScoredGroup

SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("expert", pa.string()),
        ("problem", pa.string()),
        ("sample", pa.int64()),
        ("seed", pa.int64()),
        ("prompt", pa.string()),
        ("completion", pa.string()),
        ("reward", pa.float64()),
        ("rewards", pa.map_(pa.string(), pa.float64())),
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("extracted", pa.string()),
        ("answer", pa.string()),
        ("finish_reason", pa.string()),
        ("num_tokens", pa.int64()),
        ("digest", pa.string()),
    ]
)
"""A row for each completion: `reward` is the weighted sum, `rewards` has each alone, and `digest`
is of the adapter that it was sampled under."""

AnswerRow = Mapping[str, Any]


def batch_path(out: Path, batch: AnswerBatch) -> Path:
    """Where a batch lies."""
    return out / COMPLETIONS_FOLDER / f"batch_{batch.number:08d}.parquet"


def has_batches(out: Path) -> bool:
    """Whether there is anything to go on from."""
    return any((out / COMPLETIONS_FOLDER).glob("batch_*.parquet"))


@contextmanager
def gone_if_empty(out: Path) -> Iterator[None]:
    """Leave no folder behind of an evaluation that ended before its first answers."""
    is_new = not out.exists()
    try:
        yield
    except BaseException:
        if is_new and out.is_dir() and not has_batches(out):
            remove(out)
        raise


def keep_batch(
    out: Path, batch: AnswerBatch, survey: Survey, groups: Mapping[str, Sequence[ScoredGroup]]
) -> None:
    """Write the answers of a batch, by policy."""
    rows = [
        _row(batch.exam.name, name, scored, member, seed)
        for name in batch.names
        for scored in groups[name]
        for member, seed in enumerate(survey.seeds(scored.group.problem))
    ]
    with replacing(batch_path(out, batch)) as partial:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), partial)


def read_batch(out: Path, batch: AnswerBatch, survey: Survey) -> list[AnswerRow]:
    """The answers of a batch.

    Raises:
        CheckpointError: the file is damaged, or is another batch's.
    """
    path = batch_path(out, batch)
    try:
        rows: list[AnswerRow] = pq.read_table(path, schema=SCHEMA).to_pylist()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        cause = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise _unusable(path, cause) from error
    found = [(row["task"], row["expert"], row["problem"], row["sample"]) for row in rows]
    if found != list(_places(batch, survey)):
        raise _unusable(path, "the answers of other problems")
    return rows


def _unusable(path: Path, cause: str) -> CheckpointError:
    return CheckpointError(
        f"{str(path)!r} must hold a batch of answers of this evaluation, got: {cause:.200}. Delete "
        "it and run the same command again: these answers are then made anew."
    )


def _places(batch: AnswerBatch, survey: Survey) -> Iterator[tuple[str, str, str, int]]:
    for name in batch.names:
        for problem in batch.exam.problems[batch.start : batch.stop]:
            for member in range(survey.samples.number):
                yield _plain(batch.exam.name), _plain(name), _plain(problem.id), member


def _row(exam: str, name: str, scored: ScoredGroup, member: int, seed: int) -> dict[str, Any]:
    problem, done = scored.group.problem, scored.group.completions[member]
    verdict = scored.verdicts[member]
    return {
        "task": _plain(exam),
        "expert": _plain(name),
        "problem": _plain(problem.id),
        "sample": member,
        "seed": seed,
        "prompt": _plain(prompt_text(problem)),
        "completion": _plain(said(done)),
        "reward": verdict.score,
        "rewards": [(_plain(n), each[member].score) for n, each in scored.by_reward.items()],
        "verdict": verdict.kind.value,
        "reason": _plain(verdict.reason),
        "extracted": None if verdict.extracted is None else _plain(verdict.extracted),
        "answer": _plain(problem.answer),
        "finish_reason": done.finish_reason.value,
        "num_tokens": sum(done.own),
        "digest": done.digest,
    }


def _plain(text: str) -> str:
    """Unicode: half of a pair of surrogates, as a model may write it, becomes `?`."""
    return text.encode("utf-8", "replace").decode()
