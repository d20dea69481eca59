"""Whether rewards tell answers apart, from what steps recorded: all learning rests on that."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean

from rlpeft.terminal import score_shown

ONE_REWARDS_SPREAD = re.compile(r"rewards/[^/]+/std")

WHY_ALIKE = {
    "wrong": "Most answers are judged wrong. Look whether they are (rlpeft train --show 2): if "
    "not, mend the reward, which rlpeft reward check tries; if so, take easier problems, or more "
    "answers to each (train.group_size), so that one of them is right.",
    "correct": "Most answers are judged right. Look whether they are (rlpeft train --show 2): if "
    "not, mend the reward, which rlpeft reward check tries; if so, take harder problems.",
    "unparsable": "In most answers the reward finds none: say in the prompt how to write it.",
    "truncated": "Most answers were cut off: raise {limit}.",
    "graded": "Take a reward that tells good answers from bad ones; rlpeft reward check tries it.",
}
"""By the verdict that most answers got."""

MOST = 0.5
"""A share of conversations above which they are most of them."""

MAX_TURNS = "environment.max_turns"

HAVE_IT_END = "look whether the environment says done"

LIMITS_OF_TURNS = "environment.max_turn_tokens, where a turn ends there, or rollout.max_tokens"
"""What ends a conversation with an environment too early."""


def teaching(metrics: Mapping[str, float], *, in_groups: bool) -> float | None:
    """The share of a step's groups of answers whose scores differ; `None` where there is no group.

    Args:
        in_groups: `loss.compares_groups`; else answers are compared with those to other problems
            too, and all groups teach or, where one score is all there is, none.
    """
    if "frac_reward_zero_std" not in metrics:
        return None
    if in_groups:
        return 1 - metrics["frac_reward_zero_std"]
    spreads = (value for name, value in metrics.items() if ONE_REWARDS_SPREAD.fullmatch(name))
    return float(any(spreads))


def mean_teaching(rows: Sequence[Mapping[str, float]], *, in_groups: bool) -> float | None:
    """The same over a run; `None` where no step had a group."""
    found = [share for row in rows if (share := teaching(row, in_groups=in_groups)) is not None]
    return fmean(found) if found else None


def limits_met(metrics: Mapping[str, float], limits: Mapping[str, int]) -> str:
    """What ends most conversations, where that is a limit and not their environment; else empty.

    >>> limits_met({"environment/unfinished": 1.0}, {MAX_TURNS: 4, "rollout.max_tokens": 90})
    'environment.max_turns = 4'

    Args:
        metrics: of a step, or their means over several.
        limits: of a recipe, by their keys.
    """
    unfinished = metrics.get("environment/unfinished", 0.0)
    if unfinished <= MOST:
        return ""
    by_tokens = 2 * metrics.get("completions/clipped_ratio", 0.0) > unfinished
    met = [f"{key} = {most}" for key, most in limits.items() if (key != MAX_TURNS) == by_tokens]
    return " or ".join(met)


def limits_met_in(rows: Sequence[Mapping[str, float]], limits: Mapping[str, int]) -> str:
    """The same over a run."""
    names = ("environment/unfinished", "completions/clipped_ratio")
    found = {name: [row[name] for row in rows if name in row] for name in names}
    return limits_met({name: fmean(each) for name, each in found.items() if each}, limits)


def nothing_to_learn(metrics: Mapping[str, float], steps: int) -> str:
    """What to know, and to do, where scores of all the first steps are alike.

    Args:
        metrics: of the last of so many steps.
    """
    first = "the first step" if steps == 1 else f"the first {steps} steps"
    return (
        f"note: in {first} no answer had another score than those it is compared with (mean "
        f"{score_shown(metrics['reward'])}): nothing can be learned from these. "
        f"{why_alike(metrics)}"
    )


def why_alike(metrics: Mapping[str, float], limit: str = "") -> str:
    """What to look at where all scores of a step are alike: at the judge before the problems.

    Args:
        limit: the key of the recipe that cut answers off, if that is known.
    """
    limit = limit or (LIMITS_OF_TURNS if "environment/turns" in metrics else "rollout.max_tokens")
    if limits_met(metrics, {MAX_TURNS: 1}):
        return f"Most conversations were ended by {MAX_TURNS}: raise it, or {HAVE_IT_END}."
    counts = {kind: metrics.get(f"verdicts/{kind}", 0) for kind in WHY_ALIKE}
    return WHY_ALIKE[max(counts, key=counts.__getitem__)].format(limit=limit)
