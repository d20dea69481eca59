"""Problems through the engines, and what their answers are worth; verdicts counted apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rewards.dialects import Rollouts
from rewards.errors import RewardError
from rewards.golds import GoldRule
from rewards.scorer import ScoredBatch
from rewards.verdict import VerdictKind, count_kinds
from rlpeft.errors import ConfigError, DataError
from rlpeft.experts.measures import Accuracy, Measure, measure_of
from rlpeft.rollout.fleet import Fleet
from rlpeft.tasks.golds import COLUMN, gold_of
from rlpeft.tokens.chat import ChatForm, Talk
from rlpeft.tokens.prompts import encode_prompt, written_prompt
from rlpeft.tokens.specials import control_names
from rlpeft.types import Completion, Group, Problem, Request, Sampling


class Scores(Protocol):
    """What scores completions: `rewards.scorer.Scorer`, or actors that hold one."""

    def score(self, rollouts: Rollouts) -> ScoredBatch:
        """See `rewards.scorer.Scorer.score`."""
        ...


def rollout_seed(seed: int, request: str, member: int) -> int:
    """Seed of one completion: a hash, so that no two completions of a run share a stream."""
    text = f"{seed}|{request}|{member}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6])


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


def require_meant(tokenizer: Any, text: str, *, option: str, options: Mapping[str, Any]) -> None:
    """Refuse a recipe's own text that names a control token, and does not say what is meant.

    Args:
        option: names the text, such as `task.options.template`.
        options: those of the task.

    Raises:
        ConfigError: names of control tokens are letters unless `task.options.special_tokens`.
    """
    names = control_names(tokenizer, text)
    if names and "special_tokens" not in options:
        raise ConfigError(
            f"{option} writes {', '.join(names)}, a name of the model's control tokens. Set "
            "task.options.special_tokens = true if it shall be that token (names in the rows are "
            "tokens then, too), or false if it shall be letters."
        )


class Prompter:
    """Turns problems into requests, each prompt encoded once.

    Raises (from `request`):
        DataError: a prompt is longer than allowed; prompts are never cut.
    """

    def __init__(self, tokenizer: Any, *, max_tokens: int, form: ChatForm | None = None) -> None:
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        self.talk = Talk(tokenizer, form)
        self._ids: dict[str, tuple[int, ...]] = {}

    def afresh(self, *, max_tokens: int | None = None) -> Prompter:
        """One that remembers no problem: ids may stand for other problems."""
        limit = self.max_tokens if max_tokens is None else max_tokens
        return Prompter(self.tokenizer, max_tokens=limit, form=self.talk.form)

    def encode(self, problem: Problem) -> list[int]:
        """Token ids of the problem's prompt, however long."""
        special = problem.special_tokens
        return encode_prompt(self.tokenizer, problem.prompt, special_tokens=special, talk=self.talk)

    def written(self, problem: Problem) -> str:
        """Text of the problem's prompt, as `rlpeft.tokens.prompts` takes it."""
        special = problem.special_tokens
        return written_prompt(
            self.tokenizer, problem.prompt, special_tokens=special, talk=self.talk
        )

    def ids(self, problem: Problem) -> tuple[int, ...]:
        """Token ids of the problem's prompt."""
        if problem.id not in self._ids:
            try:
                ids = tuple(self.encode(problem))
            except DataError as error:
                raise DataError(f"problem {problem.id!r}: {error}") from error
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
) -> tuple[Measure, list[Group], ScoredBatch]:
    """Answer every problem once and measure the answers.

    Args:
        sampling: greedy (temperature 0) unless an experiment says otherwise.
        step: passed to rewards and into error messages.
        labels: the closed set of answers, if there is one; counts who was taken for whom.

    Raises:
        RewardError: no answer at all could be scored.
    """
    requests = [prompter.request(p, [rollout_seed(0, p.id, 0)], expert=expert) for p in problems]
    answers = fleet.rollout(requests, sampling)
    groups = [
        Group(problem, request.prompt_ids, tuple(completions))
        for problem, request, completions in zip(problems, requests, answers, strict=True)
    ]
    scored = score_groups(groups, scorer, step=step)
    _require_a_score(groups, scored, step)
    found = measure_of(scored.verdicts)
    if isinstance(found, Accuracy):
        found = found.model_copy(update={"confusion": confusion_of(groups, scored, labels)})
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


def _require_a_score(groups: Sequence[Group], scored: ScoredBatch, step: int) -> None:
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
