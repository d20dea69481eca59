"""One `[[reward]]` of a recipe; the string under each field is its documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from rewards.registry import is_verifier, runs_programs
from rlpeft.once import named_twice
from rlpeft.recipe.adapter import Section
from rlpeft.suggest import did_you_mean

SELECT_ACCURACY, SELECT_SCORE, SELECT_REWARD = "accuracy", "score", "rewards/"
"""What `train.select` may be: the share of correct answers, the mean of the weighted sum, or, with
its name behind, the mean of one reward alone."""


class RewardConfig(Section):
    """One reward; a recipe may list several (`[[reward]]`)."""

    name: str = "math"
    """A built-in verifier, a TRL reward name, an entry point, or `package.module:function`."""
    weight: float = 1.0
    """Weight in the sum of rewards."""
    correct_at: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Score from which an answer counts as correct, for a reward that gives numbers; absent: only
    its own verdicts (`True`, `False`) count, and without them the mean score chooses the expert."""
    options: dict[str, Any] = {}
    """Passed to the verifier. `gold` names the column of the gold answer; `several = true` has a
    verifier read a list there as several right answers."""
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    """Seconds a reward of your own may take for one batch, a whole validation included."""
    warmup_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    """Seconds that importing its module may take, with the models that it loads."""


def names_in_metrics(rewards: Sequence[str]) -> list[str]:
    """The rewards of these names, as metrics call them.

    >>> names_in_metrics(["mine:tidy", "other:tidy"])
    ['tidy', 'tidy#2']
    """
    names: list[str] = []
    for reward in rewards:
        name = reward.replace(":", ".").rpartition(".")[2]
        count = sum(known.split("#")[0] == name for known in names)
        names.append(name if count == 0 else f"{name}#{count + 1}")
    return names


def correct_from(rewards: Sequence[RewardConfig]) -> dict[str, float]:
    """The `correct_at` of each reward that has one; a second one of a name has `#2` behind it.

    >>> correct_from([RewardConfig(name="exact"), RewardConfig(name="mine:f1", correct_at=0.5)])
    {'mine:f1': 0.5}
    """
    found: dict[str, float] = {}
    for at, reward in enumerate(rewards):
        if reward.correct_at is not None:
            count = sum(former.name == reward.name for former in rewards[:at])
            found[reward.name if not count else f"{reward.name}#{count + 1}"] = reward.correct_at
    return found


def rewards_twice(rewards: Sequence[RewardConfig]) -> str:
    """The first that is listed twice with equal options, in words; "" if none is."""
    counted = {"name", "options", "correct_at"}
    things = [json.dumps(r.model_dump(include=counted), sort_keys=True) for r in rewards]
    return named_twice([reward.name for reward in rewards], things)


def require_selectable(select: str | None, rewards: Sequence[Sequence[str]]) -> None:
    """Refuse to choose experts by a metric that none of the rewards gives.

    Args:
        rewards: names of those of each task.

    Raises:
        ValueError: it names those that there are.
    """
    names = dict.fromkeys(name for own in rewards for name in names_in_metrics(own))
    known = [SELECT_ACCURACY, SELECT_SCORE, *(SELECT_REWARD + name for name in names)]
    if select is not None and select not in known:
        raise ValueError(
            f"train.select must be one of {', '.join(known)}, which the rewards give, got "
            f"{select!r}.{did_you_mean(select, known)}"
        )


def chosen_by(select: str | None, correct_at: Mapping[str, float | None]) -> str:
    """The figure of a validation by which a run chooses its expert, as it is told beforehand.

    Args:
        select: `train.select`.
        correct_at: that of each reward, by its name.
    """
    accuracy, score = "accuracy (share of correct answers", "mean score"
    if select is not None and select != SELECT_ACCURACY:
        figure = score if select == SELECT_SCORE else f"mean of {select}"
        return f"{figure} (train.select)"
    if bounds := [bound for bound in correct_at.values() if bound is not None]:
        return (
            f"{accuracy}; correct is a score from {bounds[0]:g} on; train.select = "
            f"'{SELECT_SCORE}' takes the {score} instead)"
        )
    if select or any(is_verifier(name) or runs_programs(name) for name in correct_at):
        return f"{accuracy})"
    return f"{accuracy}) where the reward answers True or False, else by {score}"
