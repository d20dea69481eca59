"""The dry run of a reward, before any model is loaded: real rows, and completions made for them.

It says what the reward needs, what it gives back, in which form it takes a right answer, and how
long it takes. The reward runs as it would in a run: in a process of its own, with its time limit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rewards.dialects import Rollouts
from rewards.golds import gold_in, gold_text, is_missing
from rewards.plugins import Reward
from rewards.registry import REWARDS, BuiltIn, runs_programs
from rewards.scorer import RewardSpec, Scorer
from rewards.text.formats import final_answer
from rewards.verdict import Verdict, VerdictKind, count_kinds
from rlpeft.doctor.trial import GOLD_FORMS, PROGRAM, Trial, Tried
from rlpeft.errors import DataError
from rlpeft.recipe.columns import has_column
from rlpeft.recipe.run import Recipe, task_of
from rlpeft.recipe.scorer import spec_of
from rlpeft.tasks.base import SPLITS, Split
from rlpeft.tasks.benchmarks import BENCHMARKS
from rlpeft.tasks.catalogue import load_task
from rlpeft.tasks.forms import ANSWERS, column_among, gold_at
from rlpeft.tasks.golds import COLUMN, gold_of, require_golds, rows_of
from rlpeft.tasks.jsonl import Row
from rlpeft.tasks.sources import read_tables
from rlpeft.types import Problem

_PROMPTS = ("prompt", "messages", "question", "problem", "text", "Question")

# Columns that hold gold answers by their names, for rewards that read columns as they are.
_GOLDS = ("answer", "solution", "gold", "ground_truth", "target", "label")


@dataclass(frozen=True, slots=True)
class Example:
    """One completion that was tried, and what the reward said of it."""

    completion: str
    gold: str
    kind: str
    score: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class DryRun:
    """What it showed.

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
        is_constant: whether right, wrong and empty answers all get one score.
        is_scoreless: whether none of them gets any.
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
    is_constant: bool
    is_scoreless: bool
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def fault(self) -> str:
        """Why nothing can be learnt from it; empty where something may."""
        right = self.examples["right"]
        if self.is_scoreless:
            why = f" ({right.reason})" if right.reason else ""
            return f"right, wrong and empty answers all get no score{why}: nothing is left to learn"
        if self.is_constant:
            return (
                f"right, wrong and empty answers all get the score {right.score:g}, in whatever "
                "form: nothing can be learnt from a constant"
            )
        return ""


@dataclass(frozen=True)
class TriedRows:
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


def dry_run(spec: RewardSpec, *, data: str, num_rows: int, task: str | None = None) -> DryRun:
    """Call a reward on `num_rows` real rows with canned completions.

    Args:
        spec: the reward as a recipe names it.
        data: a file of rows, a folder of them, or a Hub dataset id.
        num_rows: rows to use.
        task: a benchmark whose template makes prompts and gold answers of the rows; without
            one, rows are taken as they are.

    Raises:
        DataError: the data cannot be read, or a gold answer is blank or of a type that the reward
            does not take.
        RewardError: the reward cannot be loaded, lacks a column, takes too long, or returns
            something else than one finite number or `None` per completion.
    """
    gold = spec.options.get("gold")
    split, prompts, rows = _read(data, task, None if gold is None else str(gold))
    ids = [f"rows/{split}/{at}" for at in range(len(rows))]
    problems = [Problem(id, p, columns=r) for id, p, r in zip(ids, prompts, rows, strict=True)]
    return _dry_run(spec, problems, data, num_rows)


def dry_runs(recipe: Recipe, num_rows: int) -> Iterator[DryRun]:
    """Each reward of a recipe on its rows, with the prompts, columns and options that it gives.

    Raises:
        ConfigError, DataError: the rows of a task cannot be read or divided.
        RewardError: see `dry_run`.
    """
    for own in recipe.alone.values():
        section = task_of(own)
        task = load_task(section)
        every = [problem for split in SPLITS for problem in task.split(split)]
        rows = [replace(p, columns={**p.columns, COLUMN: gold_of(p)}) for p in every]
        for reward in own.rewards:
            yield _dry_run(spec_of(reward), rows, section.source, num_rows)


def _dry_run(spec: RewardSpec, rows: Sequence[Problem], source: str, num_rows: int) -> DryRun:
    """A reward on rows whose columns are as rewards get them."""
    with closing(Scorer([spec], error_limit=1.0)) as scorer:
        _require_golds(scorer, rows, source)
        columns = _by_column([row.columns for row in rows[:num_rows]])
        tried = _rows(scorer, [row.prompt for row in rows[:num_rows]], columns)
        found = _tried_out(spec.name, scorer, tried)
        return replace(found, warnings=[*found.warnings, *_blank(scorer, rows)])


def _blank(scorer: Scorer, rows: Sequence[Problem]) -> list[str]:
    """A warning of rows without a gold answer, for a reward of which no run knows what it reads."""
    blank = [row for row in rows if is_missing(row.columns.get(COLUMN))]
    knows = any(isinstance(each, Reward) for each in scorer.rewards.values())
    if knows or scorer.gold_rules or not 0 < len(blank) < len(rows):
        return []
    return [
        f"{len(blank)} of {len(rows)} gold answers are blank ({rows_of(blank)}), which no run "
        f"refuses unless the function names their column as an argument: {COLUMN}"
    ]


def _tried_out(written: str, scorer: Scorer, rows: TriedRows) -> DryRun:
    ((name, reward),) = scorer.rewards.items()
    judge = Scored(scorer, rows)
    programs = _programs(rows.columns) if runs_programs(name) else None
    forms = [PROGRAM] if programs else [REWARDS.get(name, BuiltIn()).form, *GOLD_FORMS]
    trial = Trial(judge, programs or rows.golds, forms=forms)
    sorts = {
        "right": trial.right,
        "wrong": trial.wrong(),
        "empty": trial.empty(),
        "truncated": trial.truncated(),
        "hostile": trial.hostile(),
    }
    kinds = {sort: _summary(tried) for sort, tried in sorts.items()}
    times = {sort: 1000 * tried.seconds / len(rows) for sort, tried in sorts.items()}
    return DryRun(
        reward=name,
        dialect=reward.dialect if isinstance(reward.dialect, str) else reward.dialect.name,
        columns=sorted(scorer.required_columns),
        form=trial.form,
        forms={form: tried.score for form, tried in trial.by_form.items()},
        kinds=kinds,
        examples={sort: _example(tried, rows.golds[0]) for sort, tried in sorts.items()},
        ms_per_row=times,
        pickles=getattr(reward, "pickles", True),
        printed=judge.printed,
        is_constant=any(rows.golds) and trial.is_constant(),
        is_scoreless=trial.is_scoreless(),
        warnings=_warnings(written, kinds, times, rows),
    )


class Scored:
    """The reward's verdicts on completions for these rows, and whether it printed meanwhile."""

    def __init__(self, scorer: Scorer, rows: TriedRows) -> None:
        self._scorer, self._rows, self.printed = scorer, rows, False

    def __call__(self, texts: Sequence[str], *, cut: bool) -> list[Verdict]:
        """Score one completion a row."""
        rollouts = Rollouts(
            prompts=self._rows.prompts,
            completions=texts,
            completion_ids=[list(range(len(text.split()))) for text in texts],
            truncated=[cut] * len(texts),
            columns=self._rows.columns,
            step=0,
        )
        verdicts = self._scorer.score(rollouts).verdicts
        self.printed = self.printed or bool(self._scorer.printed)
        return verdicts


def _example(tried: Tried, gold: str) -> Example:
    first = tried.verdicts[0]
    return Example(tried.texts[0], gold, first.kind.value, first.score, first.reason)


def _read(data: str, task: str | None, gold: str | None) -> tuple[Split, list[Any], list[Row]]:
    """The first split of `data`: its name, prompts, and rows as rewards get their columns.

    Args:
        gold: the column of right answers; absent: the first that is called like one.
    """
    if task is not None and task not in BENCHMARKS:
        raise DataError(f"--task must be one of {', '.join(BENCHMARKS)}, got {task!r}.")
    config = BENCHMARKS[task].config if task else None
    split, rows = next(iter(read_tables(data, stem=task or "", config=config).items()))
    if task is not None:
        items = [BENCHMARKS[task].template(row) for row in rows]
        rows = [row | dict(i.columns or {}) for row, i in zip(rows, items, strict=True)]
        rows = [row | {COLUMN: i.answer} for row, i in zip(rows, items, strict=True)]
        return split, [item.user for item in items], rows
    gold = gold or column_among(rows[0], ANSWERS)  # under our name, as a task's rewards get it
    rows = [{COLUMN: gold_at(row, gold), **row} if has_column(row, gold) else row for row in rows]
    name = next((name for name in _PROMPTS if name in rows[0]), "")
    return split, [row.get(name, "") for row in rows], rows


def _require_golds(scorer: Scorer, rows: Sequence[Problem], source: str) -> None:
    """Refuse gold answers that a run would refuse: of all rows, those that are not tried too."""
    present = set[str]().union(*(row.columns for row in rows))
    rules = [rule for rule in scorer.gold_rules if rule.column.split(".")[0] in present]
    require_golds(rows, rules, scorer.required_columns, source=source)


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


def _rows(scorer: Scorer, prompts: list[Any], columns: dict[str, list[Any]]) -> TriedRows:
    """Rows with their gold answers as text."""
    rows = [{name: values[n] for name, values in columns.items()} for n in range(len(prompts))]
    (reward,) = scorer.rewards.values()
    named = [rule.column for rule in scorer.gold_rules] or [*_GOLDS, *reward.required_columns]
    if isinstance(reward, Reward):
        named = [reward.gold, *named]
    column = next((name for name in named if rows and _gold(rows[0], name) is not None), "")
    golds = [_as_text(_gold(row, column)) for row in rows]
    return TriedRows(prompts, columns, golds)


def _gold(row: Mapping[str, Any], column: str) -> Any:
    try:
        return gold_in(row, column)
    except KeyError:
        return None


def _as_text(gold: Any) -> str:
    """A right answer as text: the first where there are several."""
    if isinstance(gold, list) and gold:
        return _as_text(gold[0])
    return "" if gold is None else final_answer(gold_text(gold))


def _summary(tried: Tried) -> dict[str, Any]:
    counts = count_kinds(verdict.kind for verdict in tried.verdicts)
    return {kind: count for kind, count in counts.items() if count} | {"score": tried.score}


def _warnings(
    written: str,
    kinds: Mapping[str, Mapping[str, Any]],
    times: Mapping[str, float],
    rows: TriedRows,
) -> list[str]:
    found = []
    if not any(rows.golds):
        found.append(
            "no column of gold answers was found, and none was right or wrong: name it by "
            "--option gold=COLUMN, options.gold of a recipe"
        )
    if not any(rows.prompts):
        found.append(f"no column of {', '.join(_PROMPTS)}: prompts were empty")
    right, wrong = kinds["right"]["score"], kinds["wrong"]["score"]
    if right is None:
        found.append(
            "no right answer gets a score: is the gold column the right one (another is named by "
            "--option gold=COLUMN, options.gold of a recipe), and does a function of your own "
            "return a number?"
        )
    elif wrong is not None and right <= wrong:
        found.append(
            f"gold answers score {right:g}, wrong ones {wrong:g}: either it expects another "
            "form of answer, or it does not tell right from wrong"
        )
    for sort in ("empty", "truncated", "hostile"):
        score = kinds[sort]["score"]
        if right is not None and score is not None and score >= right > 0:
            beside = "more than" if score > right else "as much as"
            found.append(f"{sort} completions score {score:g}, {beside} right ones")
    if kinds["right"].get(VerdictKind.GRADED.value):
        found.append(
            "it gives numbers and no verdicts: experts are chosen by mean score, and no accuracy "
            "is known. Return True or False where there is right and wrong, or say in the recipe "
            f"from which score an answer is correct: reward = [{{ name = {json.dumps(written)}, "
            "correct_at = 0.5 }]"
        )
    if any(kinds[sort].get(VerdictKind.ERROR.value) for sort in kinds):
        found.append("it raises on some completions: those rows will not be scored")
    if max(times.values()) > 1000:
        found.append(f"it takes up to {max(times.values()):.0f} ms a row")
    return found
