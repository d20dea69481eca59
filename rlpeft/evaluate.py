"""Problems through the engines, and what their answers are worth."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.scorer import ScoredBatch
from rlpeft.experts.measures import UNREAD, Accuracy, Measure, measure_of
from rlpeft.rollout.fleet import Fleet
from rlpeft.rollout.groups import roll_out, rollout_seed
from rlpeft.scoring import Scores, require_a_score, score_groups
from rlpeft.tokens.prompter import Prompter
from rlpeft.types import Group, Problem, Sampling


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
    groups = roll_out(problems, requests, fleet, sampling)
    scored = score_groups(groups, scorer, step=step)
    require_a_score(groups, scored, step)
    found = measure_of(scored.verdicts)
    if isinstance(found, Accuracy):
        found = found.model_copy(update={"confusion": confusion_of(groups, scored, labels)})
    return found, groups, scored


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
