"""What the engines of a fleet are asked, and the groups that they give back, scored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rlpeft.rollout.fleet import Fleet
from rlpeft.scoring import Scores, ScoresParts, columns_by_task, score_as_they_come, score_groups
from rlpeft.types import Group, Problem, Request, Sampling, ScoredGroups

if TYPE_CHECKING:
    from rlpeft.rollout.conversation import Conversations

TellGroups = Callable[[int, int], object]
"""Is told how many groups are done, and of how many."""


def unheard(done: int, of: int) -> None:
    """Where nobody looks."""


def rollout_seed(seed: int, request: str, member: int) -> int:
    """Seed of one completion: a hash, so that no two completions of a run share a stream."""
    text = f"{seed}|{request}|{member}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6])


def roll_out(
    problems: Sequence[Problem],
    requests: Sequence[Request],
    fleet: Fleet,
    sampling: Sampling,
    conversations: Conversations | None = None,
) -> list[Group]:
    """The completions of each problem, one for every seed of its request.

    Args:
        conversations: how they are answered in several turns; absent: in one.
    """
    if conversations is not None:
        return conversations.hold(problems, requests, fleet, sampling)
    answers = fleet.rollout(requests, sampling)
    return [
        Group(problem, request.prompt_ids, tuple(completions))
        for problem, request, completions in zip(problems, requests, answers, strict=True)
    ]


def ask_scored(
    problems: Sequence[Problem],
    requests: Sequence[Request],
    fleet: Fleet,
    scorer: Scores,
    *,
    sampling: Sampling,
    step: int,
    tell: TellGroups = unheard,
    conversations: Conversations | None = None,
) -> Callable[[], ScoredGroups]:
    """Ask for the completions of each problem; what comes waits for them, and has them scored.

    Rewards in workers score what has ended while the rest is still being generated; those of this
    process see the whole batch at once, and so do all of conversations.

    Args:
        conversations: see `roll_out`.

    Returns:
        What gives them in the order of the problems.

    Raises (what comes):
        EngineError: an engine refuses a request.
        RewardError: see `rewards.scorer.Scorer.score`.
    """
    if conversations is not None:
        hold = partial(roll_out, problems, requests, fleet, sampling, conversations)
        return partial(_held_scored, hold, scorer, step, tell)
    stream = fleet.stream(requests, sampling)

    def come() -> Iterator[dict[int, Group]]:
        done = 0
        for together in stream:
            done += len(together)
            tell(done, len(requests))
            yield {
                at: Group(problems[at], requests[at].prompt_ids, tuple(completions))
                for at, completions in together.items()
            }

    def scored() -> ScoredGroups:
        if isinstance(scorer, ScoresParts):
            return score_as_they_come(come(), scorer, columns=columns_by_task(problems), step=step)
        groups = {at: group for together in come() for at, group in together.items()}
        return score_groups([groups[at] for at in range(len(requests))], scorer, step=step)

    return scored


def _held_scored(
    hold: Callable[[], list[Group]], scorer: Scores, step: int, tell: TellGroups
) -> ScoredGroups:
    groups = hold()
    tell(len(groups), len(groups))
    return score_groups(groups, scorer, step=step)
