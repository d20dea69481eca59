"""Score files and try rewards out, before any model is loaded.

`score_file` verifies predictions that already exist. `check_reward` calls any reward on real
rows with canned completions and says what it needs, what it gives back and how long it takes.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from rewards.formats import final_answer
from rewards.plugins import Reward, load
from rewards.scorer import RewardSpec, Scorer
from rewards.verdict import Verdict, VerdictKind, count_kinds
from rewards.verify import VERIFIERS, verify_batch
from rlpeft.errors import DataError
from rlpeft.tasks.benchmarks import BENCHMARKS
from rlpeft.tasks.sources import read_jsonl, read_tables

_PROMPTS = ("prompt", "question", "problem", "text", "Question")
_CHUNK_ROWS = 4096

# How a completion states the gold answer, by kind; other rewards get the mathematical form.
_STATEMENTS = {
    "choice": "So the answer is ({gold}).",
    "label": "Label: {gold}",
    "exact": "{gold}",
    "gsm8k_legacy": "#### {gold}",
}
_CODE_REWARDS = frozenset({"code", "mbpp", "humaneval"})
_BOXED = "Thinking it through step by step, the answer is $\\boxed{{{gold}}}$."
_HOSTILE = (
    "\\boxed{9**9**9**9}",
    "\\boxed{" * 3000,
    "\\boxed{().__class__.__base__.__subclasses__()}",
    "The answer is " + "(" * 5000,
    "```python\nimport os\nos._exit(0)\n```",
    "\\boxed{1000000000!} \ud800 \u0000 ٣٫١٤",
)


@dataclass(frozen=True, slots=True)
class ScoredFile:
    """Verdicts of a file of predictions.

    Attributes:
        rows: one JSON object a row: `id`, `kind`, `score`, `extracted`, `reason`.
        totals: rows by verdict kind, all kinds named.
        seconds: wall time of the verification, start of workers included.
    """

    rows: list[dict[str, Any]]
    totals: dict[str, int]
    seconds: float

    @property
    def summary(self) -> dict[str, Any]:
        """Totals, mean score of the scored rows, and rows per second."""
        scores = [row["score"] for row in self.rows if row["score"] is not None]
        return {
            "rows": len(self.rows),
            "totals": self.totals,
            "mean_score": sum(scores) / len(scores) if scores else None,
            "rows_per_s": len(self.rows) / self.seconds,
        }


def score_file(path: Path, *, kind: str, options: Mapping[str, Any]) -> ScoredFile:
    """Verify each row's `prediction` against its `gold`.

    Raises:
        DataError: no such file, not JSONL, or a row without usable `gold` and `prediction`.
        RewardError: an unknown kind or option.
    """
    if not path.is_file():
        raise DataError(f"the file of predictions must exist, got {str(path)!r}.")
    if kind in VERIFIERS:
        load(kind, options)  # names an option that the verifier does not take
    table = read_jsonl(path)
    predictions = [_field(row, "prediction", path, n) for n, row in enumerate(table, start=1)]
    golds = [_field(row, "gold", path, n) for n, row in enumerate(table, start=1)]
    cuts = [bool(row.get("truncated", False)) for row in table]
    start = time.perf_counter()
    verdicts = [
        verdict
        for low in range(0, len(table), _CHUNK_ROWS)
        for verdict in verify_batch(
            predictions[low : low + _CHUNK_ROWS],
            golds[low : low + _CHUNK_ROWS],
            kind=kind,
            truncated=cuts[low : low + _CHUNK_ROWS],
            **options,
        )
    ]
    seconds = time.perf_counter() - start
    rows = [
        {"id": row.get("id", number)} | _plain(verdict)
        for number, (row, verdict) in enumerate(zip(table, verdicts, strict=True))
    ]
    return ScoredFile(rows, _totals(verdicts), seconds)


def _field(row: Mapping[str, Any], name: str, path: Path, number: int) -> str:
    value = row.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if name == "gold" and isinstance(value, list) and all(isinstance(x, str) for x in value):
        return "\n".join(value)  # a list of assertions is one test program
    if not isinstance(value, str):
        raise DataError(
            f"{str(path)!r} line {number} must have a text {name!r}, got {value!r:.60}; its "
            f"columns are {sorted(row)}. Each row needs 'gold' and 'prediction'."
        )
    return value


def _plain(verdict: Verdict) -> dict[str, Any]:
    return asdict(verdict) | {"kind": verdict.kind.value}


def _totals(verdicts: Sequence[Verdict]) -> dict[str, int]:
    return count_kinds(verdict.kind for verdict in verdicts)


@dataclass(frozen=True, slots=True)
class Check:
    """What a dry run of a reward showed.

    Attributes:
        reward: its short name.
        dialect: the calling convention its signature shows.
        columns: dataset columns it cannot do without.
        kinds: verdict kinds by sort of completion (`right`, `wrong`, `empty`, `truncated`,
            `hostile`), and the mean score of the scored ones under `score`.
        ms_per_row: wall time per completion, by sort of completion.
        pickles: whether the function can be sent to another process.
        printed: whether it wrote to standard output, which a run would be flooded with.
        warnings: what a person should look at before training.
    """

    reward: str
    dialect: str
    columns: list[str]
    kinds: dict[str, dict[str, Any]]
    ms_per_row: dict[str, float]
    pickles: bool
    printed: bool
    warnings: list[str] = field(default_factory=list)


def check_reward(
    name: str, *, data: str, num_rows: int, options: Mapping[str, Any], task: str | None = None
) -> Check:
    """Call a reward on `num_rows` real rows with canned completions.

    Args:
        name: a reward as a recipe names it.
        data: a JSONL file, a folder of them, or a Hub dataset id.
        num_rows: rows to use.
        options: of the reward.
        task: a benchmark whose template makes prompts and gold answers of the rows; without
            one, rows are taken as they are.

    Raises:
        DataError: the data cannot be read.
        RewardError: the reward cannot be loaded, lacks a column, or returns something else than
            one finite number or `None` per completion.
    """
    scorer = Scorer([RewardSpec(name, options=options)], error_limit=1.0)
    reward = load(name, options)
    prompts, columns = _read(data, num_rows, task)
    output = io.StringIO()
    kinds: dict[str, dict[str, Any]] = {}
    times: dict[str, float] = {}
    for sort, texts, cut in _canned(columns, reward, len(prompts)):
        start = time.perf_counter()
        with contextlib.redirect_stdout(output):
            scored = scorer.score(
                prompts=prompts,
                completions=texts,
                completion_ids=[list(range(len(text.split()))) for text in texts],
                truncated=[cut] * len(texts),
                columns=columns,
                step=0,
            )
        times[sort] = 1000 * (time.perf_counter() - start) / len(texts)
        kinds[sort] = _summary(scored.verdicts)
    scorer.close()
    return Check(
        reward=reward.name,
        dialect=reward.dialect.name,
        columns=sorted(scorer.required_columns),
        kinds=kinds,
        ms_per_row=times,
        pickles=_pickles(reward.function),
        printed=bool(output.getvalue()),
        warnings=_warnings(kinds, times, reward.function, any(prompts)),
    )


def _read(data: str, num_rows: int, task: str | None) -> tuple[list[Any], dict[str, list[Any]]]:
    """Return prompts and columns of the first rows of `data`."""
    if task is not None and task not in BENCHMARKS:
        raise DataError(f"--task must be one of {', '.join(BENCHMARKS)}, got {task!r}.")
    config = BENCHMARKS[task].config if task else None
    rows = next(iter(read_tables(data, stem=task or "", config=config).values()))[:num_rows]
    if task is not None:
        items = [BENCHMARKS[task].template(row) for row in rows]
        columns = [row | dict(i.columns or {}) for row, i in zip(rows, items, strict=True)]
        columns = [row | {"answer": i.answer} for row, i in zip(columns, items, strict=True)]
        return [item.user for item in items], _by_column(columns)
    name = next((name for name in _PROMPTS if name in rows[0]), "")
    return [row.get(name, "") for row in rows], _by_column(rows)


def _by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    shared = set(rows[0]).intersection(*map(set, rows))
    return {name: [row[name] for row in rows] for name in sorted(shared)}


def _canned(
    columns: Mapping[str, Sequence[Any]], reward: Reward, num_rows: int
) -> Iterator[tuple[str, list[str], bool]]:
    """Yield sorts of completions: their name, one text per row, and whether they are cut off."""
    programs = _programs(columns) if reward.name in _CODE_REWARDS else None
    if programs is not None:
        right, wrong = programs, ["```python\ndef f():\n    return None\n```"] * num_rows
    else:
        column = columns.get(reward.gold.split(".")[0], [""] * num_rows)
        golds = [final_answer(str(value)) for value in column]
        others = [*golds[1:], *golds[:1]]
        form = _STATEMENTS.get(reward.name, _BOXED)
        right = [form.format(gold=gold) for gold in golds]
        wrong = [form.format(gold=_another(g, o)) for g, o in zip(golds, others, strict=True)]
    yield "right", right, False
    yield "wrong", wrong, False
    yield "empty", [""] * num_rows, False
    yield "truncated", ["Let us think about it step by step. First, we"] * num_rows, True
    yield "hostile", [_HOSTILE[i % len(_HOSTILE)] for i in range(num_rows)], False


def _programs(columns: Mapping[str, Sequence[Any]]) -> list[str] | None:
    """Return the reference solutions of MBPP or HumanEval rows as completions."""
    if "canonical_solution" in columns:
        parts = zip(columns["prompt"], columns["canonical_solution"], strict=True)
        return [f"```python\n{head}{body}\n```" for head, body in parts]
    if "code" in columns:
        return [f"```python\n{code}\n```" for code in columns["code"]]
    return None


def _another(gold: str, other: str) -> str:
    """Return an answer of the same form that is not `gold`."""
    if other != gold:
        return other
    return "B" if gold == "A" else "A" if len(gold) == 1 and gold.isalpha() else f"{gold}1"


def _summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    counts = {kind: count for kind, count in _totals(verdicts).items() if count}
    return counts | {"score": sum(scores) / len(scores) if scores else None}


def _pickles(function: object) -> bool:
    """Whether `function` can be written for another process; nothing is ever read back here."""
    try:
        ForkingPickler.dumps(function)
    except Exception:
        # Recovery: whatever a user's `__reduce__` raises, the answer is no.
        return False
    return True


def _warnings(
    kinds: Mapping[str, Mapping[str, Any]],
    times: Mapping[str, float],
    function: object,
    has_prompts: bool,
) -> list[str]:
    found = []
    if not has_prompts:
        found.append(f"no column of {', '.join(_PROMPTS)}: prompts were empty")
    right, wrong = kinds["right"]["score"], kinds["wrong"]["score"]
    if right is None:
        found.append("no row can be scored: is the gold column the right one (`gold` option)?")
    elif wrong is not None and right <= wrong:
        found.append(
            f"gold answers score {right:g}, wrong ones {wrong:g}: either it expects another "
            "form of answer, or it does not tell right from wrong"
        )
    for sort in ("empty", "truncated", "hostile"):
        score = kinds[sort]["score"]
        if right is not None and score is not None and score >= right > 0:
            found.append(f"{sort} completions score {score:g}, as much as right ones")
    if any(kinds[sort].get(VerdictKind.ERROR.value) for sort in kinds):
        found.append("it raises on some completions: those rows will not be scored")
    if max(times.values()) > 1000:
        found.append(f"it takes up to {max(times.values()):.0f} ms a row")
    if not _pickles(function):
        found.append("it does not pickle: define it at the top of a module to use reward actors")
    if inspect.getmodule(function) is None:
        found.append("its module cannot be named, so workers cannot import it")
    return found
