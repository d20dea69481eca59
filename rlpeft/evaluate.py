"""Problems through the engines, what their answers are worth, and by which figure they compare."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rewards.verdict import Verdict
from rlpeft.errors import ConfigError
from rlpeft.experts.measures import Accuracy, Measure, confusion_of, measure_of
from rlpeft.recipe.reward import SELECT_ACCURACY, SELECT_REWARD, SELECT_SCORE
from rlpeft.rollout.conversation import Conversations
from rlpeft.rollout.fleet import Fleet
from rlpeft.rollout.groups import ask_scored, rollout_seed
from rlpeft.scoring import Scores, by_task, require_a_score
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
    conversations: Conversations | None = None,
) -> tuple[Measure, tuple[ScoredGroup, ...]]:
    """Answer every problem once and measure the answers.

    Args:
        sampling: greedy (temperature 0) unless an experiment says otherwise.
        step: passed to rewards and into error messages.
        labels: the closed set of answers, if there is one; counts who was taken for whom.
        conversations: how problems are answered in several turns; absent: in one.

    Raises:
        RewardError: no answer at all could be scored, or none of one of its tasks.
    """
    requests = [prompter.request(p, [rollout_seed(0, p.id, 0)], expert=expert) for p in problems]
    scored = ask_scored(
        problems,
        requests,
        fleet,
        scorer,
        sampling=sampling,
        step=step,
        conversations=conversations,
    )()
    for own in (scored.groups, *by_task(scored.groups).values()):
        require_a_score(own, step=step)
    found = measure_of(scored.verdicts)
    if isinstance(found, Accuracy):
        found = found.model_copy(update={"confusion": confusion_of(scored.groups, labels)})
    return found, scored.groups


def measures_by_task(groups: Sequence[ScoredGroup]) -> dict[str, Measure]:
    """The measure of each task of a recipe of several, by its label; of one alone, nothing."""
    return {
        label: measure_of([verdict for scored in own for verdict in scored.verdicts])
        for label, own in by_task(groups).items()
    }


def selected(
    select: str | None, found: Measure, groups: Sequence[ScoredGroup]
) -> tuple[float, int]:
    """Numerator and denominator of the figure by which two validations are compared exactly.

    It is a mean over problems, whatever their tasks: each counts as its `num_validation`.

    Args:
        select: `train.select`; absent: accuracy where answers were judged, else their mean score.
        found, groups: the validation.

    Raises:
        ConfigError: the rewards have not given it.
    """
    if select is None or (select == SELECT_ACCURACY and isinstance(found, Accuracy)):
        return found.fraction
    scores = [verdict.score for scored in groups for verdict in _verdicts(select, scored)]
    known = [score for score in scores if score is not None]
    if not known:
        unjudged = [
            f"those of task {label!r}"
            for label, own in measures_by_task(groups).items()
            if not isinstance(own, Accuracy)
        ]
        raise ConfigError(
            f"train.select = {select!r} must be a figure that the rewards give, "
            f"{' and '.join(unjudged) or 'they'} gave none in this validation. Choose "
            f"{SELECT_SCORE!r}, or mend the reward."
        )
    return fmean(known), 1


def _verdicts(select: str, scored: ScoredGroup) -> Sequence[Verdict]:
    if select == SELECT_SCORE:
        return scored.verdicts
    if select == SELECT_ACCURACY:  # nothing was judged
        return ()
    # Of several tasks only some may have this reward.
    return scored.by_reward.get(select.removeprefix(SELECT_REWARD), ())
