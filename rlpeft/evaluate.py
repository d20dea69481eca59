"""Problems through the engines, and what their answers are worth."""

from __future__ import annotations

from collections.abc import Sequence

from rlpeft.experts.measures import Accuracy, Measure, confusion_of, measure_of
from rlpeft.rollout.fleet import Fleet
from rlpeft.rollout.groups import roll_out, rollout_seed
from rlpeft.scoring import Scores, require_a_score, score_groups
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Problem, Sampling, ScoredGroup


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
) -> tuple[Measure, tuple[ScoredGroup, ...]]:
    """Answer every problem once and measure the answers.

    Args:
        sampling: greedy (temperature 0) unless an experiment says otherwise.
        step: passed to rewards and into error messages.
        labels: the closed set of answers, if there is one; counts who was taken for whom.

    Raises:
        RewardError: no answer at all could be scored.
    """
    requests = [prompter.request(p, [rollout_seed(0, p.id, 0)], expert=expert) for p in problems]
    scored = score_groups(roll_out(problems, requests, fleet, sampling), scorer, step=step)
    require_a_score(scored.groups, step=step)
    found = measure_of(scored.verdicts)
    if isinstance(found, Accuracy):
        found = found.model_copy(update={"confusion": confusion_of(scored.groups, labels)})
    return found, scored.groups
