"""Completions before rewards, and the groups that come back: flat here, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from rewards.dialects import Rollouts
from rewards.errors import RewardError
from rewards.golds import GoldRule
from rewards.scorer import ScoredBatch
from rewards.verdict import VerdictKind, count_kinds
from rlpeft.tasks.golds import COLUMN, gold_of
from rlpeft.types import Completion, Group, Problem


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


def score_groups(groups: Sequence[Group], scorer: Scores, *, step: int) -> ScoredBatch:
    """Score every completion of every group, in order.

    Rewards see each problem's columns, and its gold answer as column `answer`.
    """
    pairs: list[tuple[Problem, Completion]] = [
        (group.problem, completion) for group in groups for completion in group.completions
    ]
    names = {name for problem, _ in pairs for name in problem.columns}
    columns = {name: [problem.columns.get(name) for problem, _ in pairs] for name in sorted(names)}
    columns[COLUMN] = [gold_of(problem) for problem, _ in pairs]
    rollouts = Rollouts(
        prompts=[_plain_prompt(problem) for problem, _ in pairs],
        completions=[completion.text for _, completion in pairs],
        completion_ids=[list(completion.token_ids) for _, completion in pairs],
        truncated=[completion.truncated for _, completion in pairs],
        prompt_ends=[completion.prompt_end for _, completion in pairs],
        columns=columns,
        step=step,
    )
    return scorer.score(rollouts)


def _plain_prompt(problem: Problem) -> Any:
    if isinstance(problem.prompt, str):
        return problem.prompt
    return [dict(turn) for turn in problem.prompt]


def require_scorable(
    groups: Sequence[Group], scored: ScoredBatch, *, limit: float, step: int, what: str
) -> None:
    """Stop where too little can be scored for a figure, or a gradient, to mean anything.

    Args:
        limit: share of completions that may be unscorable.
        what: the completions, for the error.

    Raises:
        RewardError: more of them are unscorable; the message names the first.
    """
    verdicts = scored.verdicts
    lost = [row for row, v in enumerate(verdicts) if v.kind is VerdictKind.UNSCORABLE]
    if len(lost) <= limit * len(verdicts):
        return
    problems = [group.problem for group in groups for _ in group.completions]
    problem, reason = problems[lost[0]], verdicts[lost[0]].reason
    raise RewardError(
        f"at most {limit:.0%} of {what} may be unscorable (train.unscorable_limit), got "
        f"{len(lost)} of {len(verdicts)} at step {step}. First: problem {problem.id!r}, gold "
        f"{problem.answer!r:.80}: {reason or 'no reason given'}. Mend the gold answers, name "
        "their column with the reward's options.gold, or mend a reward that returns None."
    )


def require_a_score(groups: Sequence[Group], scored: ScoredBatch, step: int) -> None:
    """Nothing scored is no accuracy of zero: there is nothing to choose or to report by."""
    if any(verdict.score is not None for verdict in scored.verdicts):
        return
    counts = count_kinds(verdict.kind for verdict in scored.verdicts)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    first, problem = scored.verdicts[0], groups[0].problem
    raise RewardError(
        f"some of {len(scored.verdicts)} completions must be scorable, none is ({kinds}) at step "
        f"{step}. First: problem {problem.id!r}, gold {problem.answer!r:.80}: "
        f"{first.reason or 'no reason given'}. Mend the gold answers, name their column with the "
        "reward's options.gold, or mend a reward that returns None."
    )
