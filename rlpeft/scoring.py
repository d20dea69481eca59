"""Groups before rewards, and the scored groups that come back.

Rewards see one flat batch, as trainers of all kinds hand it to them. Nothing else does: groups are
laid out here, and put together again here.

N completion of all groups, G group member.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import Any, Protocol, runtime_checkable

from rewards.dialects import Rollouts
from rewards.errors import RewardError
from rewards.golds import GoldRule
from rewards.scorer import ScoredBatch
from rewards.verdict import Verdict, VerdictKind, count_kinds
from rlpeft.tasks.golds import COLUMN, gold_of
from rlpeft.types import Completion, Group, Problem, ScoredGroup, ScoredGroups


class Scores(Protocol):
    """What scores completions: `rewards.scorer.Scorer`, or actors that hold one."""

    def score(self, rollouts: Rollouts) -> ScoredBatch:
        """See `rewards.scorer.Scorer.score`."""
        ...


@runtime_checkable
class ScoresParts(Scores, Protocol):
    """Rewards elsewhere: they score a part of a batch while another is still being generated."""

    def begin(self, rollouts: Rollouts) -> Callable[[], ScoredBatch]:
        """Have a part scored; what comes waits for it.

        Raises (what comes):
            RewardError: see `rewards.scorer.Scorer.score`, but for the share of failures.
        """
        ...

    def judge(self, scored: ScoredBatch, rollouts: Rollouts) -> None:
        """Look at the share of failures in a whole batch.

        Raises:
            RewardError: it is above the limit.
        """
        ...


class Needs(Protocol):
    """What rewards need of a problem."""

    @property
    def required_columns(self) -> frozenset[str]:
        """Columns without which they cannot be called."""
        ...

    @property
    def gold_rules(self) -> list[GoldRule]:
        """What the gold answers of each reward that has some may be."""
        ...


@dataclass(frozen=True, slots=True)
class Needed:
    """Fulfils `Needs`, of rewards that are elsewhere."""

    required_columns: frozenset[str]
    gold_rules: list[GoldRule]


class TaskScores(Scores, Needs, Protocol):
    """The rewards of one task, loaded."""


class LoadedScores(Scores, Protocol):
    """The rewards of all tasks of a run, loaded, here or in actors."""

    def of(self, task: str) -> Needs:
        """What those of one task need, by its label."""
        ...


def score_groups(groups: Sequence[Group], scorer: Scores, *, step: int) -> ScoredGroups:
    """Score every completion of every group, those of each task by its own rewards.

    Rewards see each problem's columns, and its gold answer as column `answer`. A group may be
    scored alone, as soon as it is there: verdicts are those that it gets among others. What looks
    at a whole batch is then asked of that group: a reward that compares its completions with each
    other, the share of errors that a scorer allows, a mean that is logged, and columns that only
    problems of other groups have, which are `None` for its own in a batch. What several tasks log
    by one name is averaged.

    Raises:
        RewardError: see `rewards.scorer.Scorer.score`.
    """
    scored: dict[int, ScoredGroup] = {}
    logged: list[Mapping[str, float]] = []
    for places in _by_task([group.problem for group in groups]).values():
        own = [groups[place] for place in places]
        # A group without completions has no rows, and gives no column to others.
        columns = columns_of(group.problem for group in own if group.completions)
        with _modes_of_torch():
            verdicts = scorer.score(_flat(own, step, columns))
        found = _regrouped(own, verdicts)
        scored |= zip(places, found.groups, strict=True)
        logged.append(found.metrics)
    return _in_order(scored, logged)


@contextmanager
def _modes_of_torch() -> Iterator[None]:
    """Have what a function of this process leaves switched end with it: nothing would learn."""
    import torch  # commands that only look at rewards need none

    is_bare = torch.is_inference_mode_enabled()
    with torch.inference_mode(is_bare), torch.set_grad_enabled(torch.is_grad_enabled()):
        yield


def _by_task(problems: Iterable[Problem]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, problem in enumerate(problems):
        places.setdefault(problem.task, []).append(place)
    return places


def by_task(groups: Sequence[ScoredGroup]) -> dict[str, tuple[ScoredGroup, ...]]:
    """By label, the groups of each task of a recipe of several; of one alone, nothing."""
    places = _by_task(scored.group.problem for scored in groups)
    return {
        label: tuple(groups[place] for place in own)
        for label, own in sorted(places.items())
        if label
    }


def _in_order(
    scored: Mapping[int, ScoredGroup], logged: Sequence[Mapping[str, float]]
) -> ScoredGroups:
    """Groups by their places; what several tasks log by one name is averaged."""
    names = dict.fromkeys(name for own in logged for name in own)
    metrics = {name: fmean(own[name] for own in logged if name in own) for name in names}
    return ScoredGroups(tuple(scored[place] for place in sorted(scored)), metrics)


def score_as_they_come(
    come: Iterable[Mapping[int, Group]],
    scorer: ScoresParts,
    *,
    columns: Mapping[str, Collection[str]],
    step: int,
) -> ScoredGroups:
    """Score groups that ended together in one call, while others are still being generated.

    What looks at a whole batch is asked of such a part alone, as `score_groups` has it of a group;
    the share of errors is that of all groups, and a metric the mean over groups.

    Args:
        come: groups by their places, which order what is given back.
        columns: by task, those of any of its problems; one that another lacks is `None` there.

    Raises:
        RewardError: see `rewards.scorer.Scorer.score`.
    """
    begun = [
        (own, scorer.begin(_flat([*own.values()], step, columns[task])))
        for together in come
        for task, own in _split(together).items()
    ]
    groups: dict[int, Group] = {}
    parts: dict[int, ScoredBatch] = {}
    for own, wait in begun:
        rows, found = _rows_of([*own.values()]), wait()
        groups |= own
        parts |= {at: _cut(found, own_rows) for at, own_rows in zip(own, rows, strict=True)}
    scored: dict[int, ScoredGroup] = {}
    logged: list[Mapping[str, float]] = []
    for task, by_place in _split({at: groups[at] for at in sorted(groups)}).items():
        batch, in_order = joined([parts[at] for at in by_place]), [*by_place.values()]
        scorer.judge(batch, _flat(in_order, step, columns[task]))
        scored |= zip(by_place, _regrouped(in_order, batch).groups, strict=True)
        logged.append(batch.metrics)
    return _in_order(scored, logged)


def _split(groups: Mapping[int, Group]) -> dict[str, dict[int, Group]]:
    """Groups by their places, those of each task."""
    places = [*groups]
    found = _by_task(group.problem for group in groups.values())
    return {task: {places[n]: groups[places[n]] for n in own} for task, own in found.items()}


def columns_of(problems: Iterable[Problem]) -> list[str]:
    """The columns that rewards see: those of any problem."""
    return sorted({name for problem in problems for name in problem.columns})


def columns_by_task(problems: Iterable[Problem]) -> dict[str, list[str]]:
    """The same of the problems of each task."""
    every = [*problems]
    places = _by_task(every)
    return {task: columns_of(every[place] for place in own) for task, own in places.items()}


def joined(parts: Sequence[ScoredBatch]) -> ScoredBatch:
    """Parts put together in their order; a metric is the mean of the parts' values.

    A column recorded in some parts only is `None` in the rows of the others.
    """
    columns = sorted({name for part in parts for name in part.columns})
    metrics = sorted({name for part in parts for name in part.metrics})
    return ScoredBatch(
        [verdict for part in parts for verdict in part.verdicts],
        {name: [v for p in parts for v in p.by_reward[name]] for name in parts[0].by_reward},
        {name: [v for p in parts for v in _column(p, name)] for name in columns},
        {name: fmean(p.metrics[name] for p in parts if name in p.metrics) for name in metrics},
    )


def _column(part: ScoredBatch, name: str) -> list[object]:
    return part.columns.get(name, [None] * len(part.verdicts))


def _cut(scored: ScoredBatch, rows: slice) -> ScoredBatch:
    """Some rows of a batch, with the metrics of all."""
    return ScoredBatch(
        scored.verdicts[rows],
        {name: verdicts[rows] for name, verdicts in scored.by_reward.items()},
        {name: values[rows] for name, values in scored.columns.items()},
        scored.metrics,
    )


def _flat(groups: Sequence[Group], step: int, names: Iterable[str]) -> Rollouts:
    pairs: list[tuple[Problem, Completion]] = [
        (group.problem, completion) for group in groups for completion in group.completions
    ]
    columns = {name: [problem.columns.get(name) for problem, _ in pairs] for name in names}
    columns[COLUMN] = [gold_of(problem) for problem, _ in pairs]
    return Rollouts(
        prompts=[plain_prompt(problem) for problem, _ in pairs],
        completions=[completion.text for _, completion in pairs],
        completion_ids=[list(completion.answer_ids) for _, completion in pairs],
        truncated=[completion.truncated for _, completion in pairs],
        prompt_ends=[completion.prompt_end for _, completion in pairs],
        columns=columns,
        step=step,
        task=groups[0].problem.task,
        outcomes=[done.conversation.outcome for _, done in pairs if done.conversation],
    )


def plain_prompt(problem: Problem) -> Any:
    """A prompt in JSON's own types: text, or chat turns."""
    if isinstance(problem.prompt, str):
        return problem.prompt
    return [dict(turn) for turn in problem.prompt]


def _regrouped(groups: Sequence[Group], flat: ScoredBatch) -> ScoredGroups:
    scored = (
        ScoredGroup(
            group,
            tuple(flat.verdicts[own]),
            {name: tuple(verdicts_N[own]) for name, verdicts_N in flat.by_reward.items()},
            {name: tuple(values_N[own]) for name, values_N in flat.columns.items()},
        )
        for group, own in zip(groups, _rows_of(groups), strict=True)
    )
    return ScoredGroups(tuple(scored), flat.metrics)


def _rows_of(groups: Sequence[Group]) -> list[slice]:
    sizes = [len(group.completions) for group in groups]
    return [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]


def require_scorable(groups: Sequence[ScoredGroup], *, limit: float, step: int, what: str) -> None:
    """Stop where too little can be scored for a figure, or a gradient, to mean anything.

    Args:
        limit: share of completions that may be unscorable.
        what: the completions, for the error.

    Raises:
        RewardError: more of them are unscorable; the message names the first.
    """
    judged = _judged(groups)
    lost = [(p, verdict) for p, verdict in judged if verdict.kind is VerdictKind.UNSCORABLE]
    if len(lost) <= limit * len(judged):
        return
    raise RewardError(
        f"at most {limit:.0%} of {what} may be unscorable (train.unscorable_limit), got "
        f"{len(lost)} of {len(judged)} at step {step}. {_first(*lost[0])}"
    )


def require_a_score(groups: Sequence[ScoredGroup], *, step: int) -> None:
    """Nothing scored is no accuracy of zero: there is nothing to choose or to report by.

    Raises:
        RewardError: nothing is; the message counts the kinds of verdicts.
    """
    judged = _judged(groups)
    if any(verdict.score is not None for _, verdict in judged):
        return
    counts = count_kinds(verdict.kind for _, verdict in judged)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    raise RewardError(
        f"some of {len(judged)} completions must be scorable, none is ({kinds}) at step {step}. "
        f"{_first(*judged[0])}"
    )


def _judged(groups: Sequence[ScoredGroup]) -> list[tuple[Problem, Verdict]]:
    return [(scored.group.problem, verdict) for scored in groups for verdict in scored.verdicts]


def _first(problem: Problem, verdict: Verdict) -> str:
    return (
        f"First: problem {problem.id!r}, gold {problem.answer!r:.80}: "
        f"{verdict.reason or 'no reason given'}. Mend the gold answers, name their column with the "
        "reward's options.gold, or mend a reward that returns None."
    )
