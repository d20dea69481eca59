"""Accuracy with an interval: problems through the engines, verdicts counted apart."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Protocol

from rewards.scorer import ScoredBatch
from rewards.verdict import VerdictKind
from rlpeft.config import Section
from rlpeft.errors import DataError
from rlpeft.models import encode_prompt
from rlpeft.rollout.fleet import Fleet
from rlpeft.types import Completion, Group, Problem, Request, Sampling


class Scores(Protocol):
    """What scores completions: `rewards.scorer.Scorer`, or actors that hold one."""

    def score(
        self,
        *,
        prompts: Sequence[Any],
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        truncated: Sequence[bool],
        columns: Any,
        step: int,
        trainer_state: object = None,
    ) -> ScoredBatch:
        """See `rewards.scorer.Scorer.score`."""
        ...


class Accuracy(Section):
    """Share of correct answers with its 95 % Wilson interval.

    >>> Accuracy.of(60, 100).low < 0.6 < Accuracy.of(60, 100).high
    True
    """

    value: float
    """Correct / scored."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    correct: int
    """Completions judged correct."""
    total: int
    """Completions that could be scored."""
    verdicts: dict[str, int] = {}
    """Count of every verdict kind, unscored ones included."""
    confusion: dict[str, dict[str, int]] = {}
    """For labels: gold -> said -> how often; what names no label counts as `UNREAD`."""

    @classmethod
    def of(cls, correct: int, total: int, verdicts: dict[str, int] | None = None) -> Accuracy:
        """The accuracy of `correct` out of `total`."""
        low, high = wilson_interval(correct, total)
        value = correct / total if total else 0.0
        return cls(
            value=value, low=low, high=high, correct=correct, total=total, verdicts=verdicts or {}
        )

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


def wilson_interval(correct: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (E. B. Wilson, JASA 22, 1927)."""
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    p, scale = correct / total, 1 + z * z / total
    centre = (p + z * z / (2 * total)) / scale
    half = z / scale * (p * (1 - p) / total + z * z / (4 * total * total)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def rollout_seed(seed: int, request: str, member: int) -> int:
    """Seed of one completion: a hash, so that no two completions of a run share a stream."""
    text = f"{seed}|{request}|{member}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6])


class Prompter:
    """Turns problems into requests, each prompt encoded once.

    Raises (from `request`):
        DataError: a prompt is longer than allowed; prompts are never cut.
    """

    def __init__(self, tokenizer: Any, *, max_tokens: int) -> None:
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        self._ids: dict[str, tuple[int, ...]] = {}

    def ids(self, problem: Problem) -> tuple[int, ...]:
        """Token ids of the problem's prompt."""
        if problem.id not in self._ids:
            ids = tuple(encode_prompt(self.tokenizer, problem.prompt))
            if len(ids) > self.max_tokens:
                raise DataError(
                    f"prompt of problem {problem.id!r} must have at most rollout.max_prompt_tokens"
                    f" = {self.max_tokens} tokens, it has {len(ids)}. Raise the limit or drop the "
                    "problem; prompts are never cut."
                )
            self._ids[problem.id] = ids
        return self._ids[problem.id]

    def request(
        self, problem: Problem, seeds: Sequence[int], *, expert: str | None = None
    ) -> Request:
        """One request for this problem."""
        return Request(problem.id, self.ids(problem), tuple(seeds), expert)


def score_groups(groups: Sequence[Group], scorer: Scores, *, step: int) -> ScoredBatch:
    """Score every completion of every group, in order.

    Rewards see each problem's columns, and its gold answer as column `answer`.
    """
    pairs: list[tuple[Problem, Completion]] = [
        (group.problem, completion) for group in groups for completion in group.completions
    ]
    names = {name for problem, _ in pairs for name in problem.columns}
    columns = {name: [problem.columns.get(name) for problem, _ in pairs] for name in sorted(names)}
    columns.setdefault("answer", [problem.answer for problem, _ in pairs])
    return scorer.score(
        prompts=[_plain_prompt(problem) for problem, _ in pairs],
        completions=[completion.text for _, completion in pairs],
        completion_ids=[list(completion.token_ids) for _, completion in pairs],
        truncated=[completion.truncated for _, completion in pairs],
        columns=columns,
        step=step,
    )


def _plain_prompt(problem: Problem) -> Any:
    if isinstance(problem.prompt, str):
        return problem.prompt
    return [dict(turn) for turn in problem.prompt]


def evaluate(
    problems: Sequence[Problem],
    fleet: Fleet,
    scorer: Scores,
    *,
    prompter: Prompter,
    sampling: Sampling,
    step: int = 0,
    expert: str | None = None,
    labels: Sequence[str] = (),
) -> tuple[Accuracy, list[Group], ScoredBatch]:
    """Answer every problem once and count what is correct.

    Args:
        sampling: greedy (temperature 0) unless an experiment says otherwise.
        step: passed to rewards and into error messages.
        labels: the closed set of answers, if there is one; counts who was taken for whom.
    """
    requests = [prompter.request(p, [rollout_seed(0, p.id, 0)], expert=expert) for p in problems]
    answers = fleet.rollout(requests, sampling)
    groups = [
        Group(problem, request.prompt_ids, tuple(completions))
        for problem, request, completions in zip(problems, requests, answers, strict=True)
    ]
    scored = score_groups(groups, scorer, step=step)
    found = accuracy_of(scored).model_copy(
        update={"confusion": confusion_of(groups, scored, labels)}
    )
    return found, groups, scored


UNREAD = "-"
"""Column of a confusion matrix for answers that give no label."""


def confusion_of(
    groups: Sequence[Group], scored: ScoredBatch, labels: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Gold -> said -> count over all labels; empty if there are none."""
    if not labels:
        return {}
    counts = {gold: dict.fromkeys([*labels, UNREAD], 0) for gold in labels}
    known = {label.casefold(): label for label in labels}
    golds = [group.problem.answer for group in groups for _ in group.completions]
    for gold, verdict in zip(golds, scored.verdicts, strict=True):
        said = known.get((verdict.extracted or "").casefold(), UNREAD)
        counts[known[gold.casefold()]][said] += 1
    return counts


def accuracy_of(scored: ScoredBatch) -> Accuracy:
    """Correct over scored, by the combined verdicts."""
    kinds = Counter(verdict.kind for verdict in scored.verdicts)
    total = sum(verdict.score is not None for verdict in scored.verdicts)
    counts = {kind.value: kinds[kind] for kind in VerdictKind}
    return Accuracy.of(kinds[VerdictKind.CORRECT], total, counts)
