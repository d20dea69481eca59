"""Advantages: how much better than expected each completion was.

P problem, G group member. Rewards are lists because groups may differ in size; `None` marks a
completion that could not be scored: it has advantage 0 and is in no baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from rlpeft.types import AdvantagedGroup, Completion, ScoredGroup

Rewards = Sequence[Sequence[float | None]]

STD_FLOOR = 1e-4
"""Added to the group's standard deviation, as TRL's GRPO does; the paper adds nothing. Rewards that
differ by rounding alone would become advantages of one without it, and equal ones 0 / 0."""


def none(rewards_PG: Rewards, wrong: float = -1.0) -> list[list[float]]:
    """r itself, mapped from [0, 1] to [wrong, 1] (Transformer², §3.2: r in {-1, +1}, no baseline;
    {-0.1, +1} in its runs on pictures)."""
    # Unscored is 0 and no -1: the paper has no such answers, and a fault of a verifier or of a gold
    # answer must not be learned from as if it were a wrong answer.
    return [[0.0 if r is None else r + wrong * (1 - r) for r in group] for group in rewards_PG]


def batch_mean(rewards_PG: Rewards) -> list[list[float]]:
    """r - mean over all scored completions of the batch (REINFORCE with a constant baseline)."""
    scored = [r for group in rewards_PG for r in group if r is not None]
    # It holds the completion's own reward: among N of them the gradient is shorter by 1 / N.
    baseline = fmean(scored) if scored else 0.0
    return [[0.0 if r is None else r - baseline for r in group] for group in rewards_PG]


def rloo(rewards_PG: Rewards) -> list[list[float]]:
    """r - mean of the other scored members of its group (leave-one-out, arXiv 2402.14740)."""
    return [_leave_one_out(group) for group in rewards_PG]


def group_norm(rewards_PG: Rewards) -> list[list[float]]:
    """(r - mean) / (std + 1e-4) within the group (GRPO, arXiv 2402.03300, §4.1.2)."""
    return [_normalised(group) for group in rewards_PG]


def _leave_one_out(group: Sequence[float | None]) -> list[float]:
    scored = [r for r in group if r is not None]
    if len(scored) < 2:  # no other to compare with: 0 / 0
        return [0.0] * len(group)
    total = sum(scored)
    return [0.0 if r is None else r - (total - r) / (len(scored) - 1) for r in group]


def _normalised(group: Sequence[float | None]) -> list[float]:
    scored = [r for r in group if r is not None]
    if len(scored) < 2:  # the deviation of one value is 0 / 0
        return [0.0] * len(group)
    # The sample's deviation, over n - 1, as TRL has it; the paper does not say which.
    mean, std = fmean(scored), stdev(scored)
    return [0.0 if r is None else (r - mean) / (std + STD_FLOOR) for r in group]


ADVANTAGES: dict[str, Callable[[Rewards], list[list[float]]]] = {
    "none": none,
    "batch_mean": batch_mean,
    "rloo": rloo,
    "group_norm": group_norm,
}
"""By the name used in `loss.advantage`."""


def with_advantages(
    groups: Sequence[ScoredGroup], kind: str, *, mask_truncated: bool, wrong: float = -1.0
) -> list[AdvantagedGroup]:
    """Each group with the advantages of its members.

    Args:
        kind: of `ADVANTAGES`. All but `batch_mean` look at one group alone.
        mask_truncated: as in `loss.mask_truncated`.
        wrong: as in `loss.wrong`, of `none`.
    """
    rewards_PG = [scored.rewards for scored in groups]
    # Any other takes a shift of all rewards away, and `loss` refuses it there.
    advantages_PG = none(rewards_PG, wrong) if kind == "none" else ADVANTAGES[kind](rewards_PG)
    return [
        AdvantagedGroup(
            scored.group,
            scored.verdicts,
            scored.by_reward,
            scored.columns,
            advantages=tuple(advantages),
            trained=tuple(is_trained(done, mask_truncated) for done in scored.group.completions),
        )
        for scored, advantages in zip(groups, advantages_PG, strict=True)
    ]


def is_trained(completion: Completion, mask_truncated: bool) -> bool:
    """Whether a completion is in the loss: one that a limit cut off may be left out."""
    return not (completion.truncated and mask_truncated)


def carries_signal(group: Sequence[float | None]) -> bool:
    """Whether a group's scored rewards differ at all; without that it moves nothing."""
    scored = {r for r in group if r is not None}
    return len(scored) > 1
