"""Groups before rewards, and the scored groups that come back.

Rewards see one flat batch, as trainers of all kinds hand it to them. Nothing else does: groups are
laid out here, and put together again here.

N completion of all groups, G group member.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol

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


class LoadedScores(Scores, Needs, Protocol):
    """Rewards that are loaded, here or in actors."""


def score_groups(groups: Sequence[Group], scorer: Scores, *, step: int) -> ScoredGroups:
    """Score every completion of every group.

    Rewards see each problem's columns, and its gold answer as column `answer`. A group may be
    scored alone, as soon as it is there: verdicts are those that it gets among others. What looks
    at a whole batch is then asked of that group: a reward that compares its completions with each
    other, the share of errors that a scorer allows, a mean that is logged, and columns that only
    problems of other groups have, which are `None` for its own in a batch.

    Raises:
        RewardError: see `rewards.scorer.Scorer.score`.
    """
    return _regrouped(groups, scorer.score(_flat(groups, step)))


def _flat(groups: Sequence[Group], step: int) -> Rollouts:
    pairs: list[tuple[Problem, Completion]] = [
        (group.problem, completion) for group in groups for completion in group.completions
    ]
    names = {name for problem, _ in pairs for name in problem.columns}
    columns = {name: [problem.columns.get(name) for problem, _ in pairs] for name in sorted(names)}
    columns[COLUMN] = [gold_of(problem) for problem, _ in pairs]
    return Rollouts(
        prompts=[_plain_prompt(problem) for problem, _ in pairs],
        completions=[completion.text for _, completion in pairs],
        completion_ids=[list(completion.token_ids) for _, completion in pairs],
        truncated=[completion.truncated for _, completion in pairs],
        prompt_ends=[completion.prompt_end for _, completion in pairs],
        columns=columns,
        step=step,
    )


def _plain_prompt(problem: Problem) -> Any:
    if isinstance(problem.prompt, str):
        return problem.prompt
    return [dict(turn) for turn in problem.prompt]


def _regrouped(groups: Sequence[Group], flat: ScoredBatch) -> ScoredGroups:
    sizes = [len(group.completions) for group in groups]
    rows = [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]
    scored = (
        ScoredGroup(
            group,
            tuple(flat.verdicts[own]),
            {name: tuple(verdicts_N[own]) for name, verdicts_N in flat.by_reward.items()},
            {name: tuple(values_N[own]) for name, values_N in flat.columns.items()},
        )
        for group, own in zip(groups, rows, strict=True)
    )
    return ScoredGroups(tuple(scored), flat.metrics)


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
