"""What the engines of a fleet are asked, and the groups that they give back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from rlpeft.rollout.fleet import Fleet
from rlpeft.types import Group, Problem, Request, Sampling


def rollout_seed(seed: int, request: str, member: int) -> int:
    """Seed of one completion: a hash, so that no two completions of a run share a stream."""
    text = f"{seed}|{request}|{member}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6])


def roll_out(
    problems: Sequence[Problem], requests: Sequence[Request], fleet: Fleet, sampling: Sampling
) -> list[Group]:
    """The completions of each problem, one for every seed of its request."""
    answers = fleet.rollout(requests, sampling)
    return [
        Group(problem, request.prompt_ids, tuple(completions))
        for problem, request, completions in zip(problems, requests, answers, strict=True)
    ]
