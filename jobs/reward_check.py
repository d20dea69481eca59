"""Try a reward out, before any model is loaded: real rows, and completions made for them.

It says what the reward needs, what it gives back, in which form it takes a right answer, and how
long it takes. The reward runs as it would in a run: in a process of its own, with its time limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rewards.dialects import Rollouts
from rewards.formats import final_answer
from rewards.golds import gold_in
from rewards.plugins import Reward
from rewards.registry import REWARDS, BuiltIn, runs_programs
from rewards.scorer import RewardSpec, Scorer
from rewards.verdict import Verdict, VerdictKind, count_kinds
from rlpeft.doctor.rewards import GOLD_FORMS
from rlpeft.errors import DataError
from rlpeft.tasks.benchmarks import BENCHMARKS
from rlpeft.tasks.sources import read_tables

_PROMPTS = ("prompt", "question", "problem", "text", "Question")

# Columns that hold gold answers by their names, for rewards that read columns as they are.
_GOLDS = ("answer", "solution", "gold", "ground_truth", "target", "label")
_PROGRAM = "```python\n{}\n```"
_HOSTILE = (
    "\\boxed{9**9**9**9}",
    "\\boxed{" * 3000,
    "\\boxed{().__class__.__base__.__subclasses__()}",
    "The answer is " + "(" * 5000,
    "```python\nimport os\nos._exit(0)\n```",
    "\\boxed{1000000000!} \ud800 \u0000 ٣٫١٤",
)


@dataclass(frozen=True, slots=True)
class Example:
    """One completion that was tried, and what the reward said of it."""

    completion: str
    gold: str
    kind: str
    score: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """What a dry run of a reward showed.

    Attributes:
        reward: its short name.
        dialect: the calling convention its signature shows.
        columns: dataset columns it cannot do without.
        form: the form in which it takes right answers best; `{}` stands for the gold answer.
        forms: mean score of right answers by form; `None` where none could be scored.
        kinds: verdict kinds by sort of completion (`right`, `wrong`, `empty`, `truncated`,
            `hostile`), and the mean score of the scored ones under `score`.
        examples: the first completion of each sort.
        ms_per_row: wall time per completion, by sort of completion.
        pickles: whether the function could be sent to another process.
        printed: whether it wrote to standard output, which a run shows where it fails.
        warnings: what a person should look at before training.
    """

    reward: str
    dialect: str
    columns: list[str]
    form: str
    forms: dict[str, float | None]
    kinds: dict[str, dict[str, Any]]
    examples: dict[str, Example]
    ms_per_row: dict[str, float]
    pickles: bool
    printed: bool
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Rows:
    """What completions are made for.

    Attributes:
        prompts, columns: as rewards get them, one a row.
        golds: the gold answers as text; empty where no column of them was found.
    """

    prompts: list[Any]
    columns: dict[str, list[Any]]
    golds: list[str]

    def __len__(self) -> int:
        return len(self.prompts)


def check_reward(spec: RewardSpec, *, data: str, num_rows: int, task: str | None = None) -> Check:
    """Call a reward on `num_rows` real rows with canned completions.

    Args:
        spec: the reward as a recipe names it.
        data: a JSONL file, a folder of them, or a Hub dataset id.
        num_rows: rows to use.
        task: a benchmark whose template makes prompts and gold answers of the rows; without
            one, rows are taken as they are.

    Raises:
        DataError: the data cannot be read, or a gold answer is of a type the reward does not take.
        RewardError: the reward cannot be loaded, lacks a column, takes too long, or returns
            something else than one finite number or `None` per completion.
    """
    scorer = Scorer([spec], error_limit=1.0)
    try:
        prompts, columns = _read(data, num_rows, task)
        return _checked(scorer, _rows(scorer, prompts, columns, data))
    finally:
        scorer.close()


def _checked(scorer: Scorer, rows: Rows) -> Check:
    ((name, reward),) = scorer.rewards.items()
    trial = Trial(scorer, rows)
    forms, programs = _forms(name, rows)
    by_form = {form: trial.run(form, _stated(form, rows, programs)) for form in forms}
    form = max(forms, key=lambda each: _rank(by_form[each]))
    for sort, texts, cut in _others(form, rows):
        trial.run(sort, texts, cut=cut)
    sorts = {"right": form} | {sort: sort for sort in ("wrong", "empty", "truncated", "hostile")}
    kinds = {sort: trial.summaries[key] for sort, key in sorts.items()}
    times = {sort: trial.ms_per_row[key] for sort, key in sorts.items()}
    return Check(
        reward=name,
        dialect=reward.dialect if isinstance(reward.dialect, str) else reward.dialect.name,
        columns=sorted(scorer.required_columns),
        form=form,
        forms=by_form,
        kinds=kinds,
        examples={sort: trial.examples[key] for sort, key in sorts.items()},
        ms_per_row=times,
        pickles=getattr(reward, "pickles", True),
        printed=trial.printed,
        warnings=_warnings(kinds, times, rows),
    )


class Trial:
    """Completions tried so far, by sort."""

    def __init__(self, scorer: Scorer, rows: Rows) -> None:
        self._scorer, self._rows = scorer, rows
        self.summaries: dict[str, dict[str, Any]] = {}
        self.examples: dict[str, Example] = {}
        self.ms_per_row: dict[str, float] = {}
        self.printed = False

    def run(self, sort: str, texts: Sequence[str], *, cut: bool = False) -> float | None:
        """Score one completion a row; the mean score, `None` if none could be scored."""
        start = time.perf_counter()
        rollouts = Rollouts(
            prompts=self._rows.prompts,
            completions=texts,
            completion_ids=[list(range(len(text.split()))) for text in texts],
            truncated=[cut] * len(texts),
            columns=self._rows.columns,
            step=0,
        )
        verdicts = self._scorer.score(rollouts).verdicts
        self.ms_per_row[sort] = 1000 * (time.perf_counter() - start) / len(texts)
        self.printed = self.printed or bool(self._scorer.printed)
        self.summaries[sort] = found = _summary(verdicts)
        first, gold = verdicts[0], self._rows.golds[0]
        self.examples[sort] = Example(texts[0], gold, first.kind.value, first.score, first.reason)
        score: float | None = found["score"]
        return score


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


def _programs(columns: Mapping[str, Sequence[Any]]) -> list[str] | None:
    """Return the reference solutions of MBPP or HumanEval rows."""
    if "canonical_solution" in columns:
        parts = zip(columns["prompt"], columns["canonical_solution"], strict=True)
        return [f"{head}{body}" for head, body in parts]
    if "code" in columns:
        return list(columns["code"])
    return None


def _rows(scorer: Scorer, prompts: list[Any], columns: dict[str, list[Any]], data: str) -> Rows:
    """Rows with their gold answers, once these are of a type that the reward takes."""
    rows = [{name: values[n] for name, values in columns.items()} for n in range(len(prompts))]
    for rule in scorer.gold_rules:
        for number, row in enumerate(rows, start=1):
            if rule.column.split(".")[0] in row and (fault := rule.fault(_gold(row, rule.column))):
                raise DataError(f"{data!r} row {number}: {fault}. {rule.mend()}")
    (reward,) = scorer.rewards.values()
    named = [rule.column for rule in scorer.gold_rules] or [*_GOLDS, *reward.required_columns]
    if isinstance(reward, Reward):
        named = [reward.gold, *named]
    column = next((name for name in named if rows and _gold(rows[0], name) is not None), "")
    golds = [_as_text(_gold(row, column)) for row in rows]
    return Rows(prompts, columns, golds)


def _gold(row: Mapping[str, Any], column: str) -> Any:
    try:
        return gold_in(row, column)
    except KeyError:
        return None


def _as_text(gold: Any) -> str:
    """A right answer as text: the first where there are several."""
    if isinstance(gold, list) and gold:
        return _as_text(gold[0])
    return "" if gold is None else final_answer(str(gold))


def _forms(name: str, rows: Rows) -> tuple[list[str], list[str] | None]:
    """Forms to try right answers in; and whole programs, where the rows have solutions."""
    programs = _programs(rows.columns) if runs_programs(name) else None
    if programs is not None:
        return [_PROGRAM], programs
    return list(dict.fromkeys([REWARDS.get(name, BuiltIn()).form, *GOLD_FORMS])), None


def _stated(form: str, rows: Rows, programs: list[str] | None) -> list[str]:
    return [form.format(gold) for gold in programs or rows.golds]


def _rank(score: float | None) -> float:
    return float("-inf") if score is None else score


def _others(form: str, rows: Rows) -> Iterator[tuple[str, list[str], bool]]:
    """Yield other sorts of completions: name, one text a row, and whether they are cut off."""
    number, others = len(rows), [*rows.golds[1:], *rows.golds[:1]]
    wrong = [_another(g, o) for g, o in zip(rows.golds, others, strict=True)]
    if form == _PROGRAM:
        wrong = ["def f():\n    return None"] * number
    yield "wrong", [form.format(answer) for answer in wrong], False
    yield "empty", [""] * number, False
    yield "truncated", ["Let us think about it step by step. First, we"] * number, True
    yield "hostile", [_HOSTILE[n % len(_HOSTILE)] for n in range(number)], False


def _another(gold: str, other: str) -> str:
    """Return an answer of the same form that is not `gold`."""
    if other != gold:
        return other
    return "B" if gold == "A" else "A" if len(gold) == 1 and gold.isalpha() else f"{gold}1"


def _summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    counts = {kind: count for kind, count in count_kinds(v.kind for v in verdicts).items() if count}
    return counts | {"score": sum(scores) / len(scores) if scores else None}


def _warnings(
    kinds: Mapping[str, Mapping[str, Any]],
    times: Mapping[str, float],
    rows: Rows,
) -> list[str]:
    found = []
    if not any(rows.golds):
        found.append("no column of gold answers was found (`gold` option): none was right or wrong")
    if not any(rows.prompts):
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
    if kinds["right"].get(VerdictKind.GRADED.value):
        found.append(
            "it gives numbers and no verdicts: experts are chosen by mean score, and no accuracy "
            "is known. Return True or False where there is right and wrong, or set correct_at"
        )
    if any(kinds[sort].get(VerdictKind.ERROR.value) for sort in kinds):
        found.append("it raises on some completions: those rows will not be scored")
    if max(times.values()) > 1000:
        found.append(f"it takes up to {max(times.values()):.0f} ms a row")
    return found
