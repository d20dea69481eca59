"""Two passes: choose the expert, then answer (Transformer², arXiv 2501.06252, §3.2)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rlpeft.choose.strategies import Choice, Strategy
from rlpeft.experts.card_parts import BASE
from rlpeft.rollout.fleet import Fleet
from rlpeft.rollout.groups import rollout_seed
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Completion, Problem, Request, Sampling


@dataclass(frozen=True, slots=True)
class TwoPass:
    """What two passes gave, prompt by prompt, and how long each took (the paper's Table 3)."""

    choices: list[Choice]
    completions: list[Completion]
    first_s: float
    second_s: float


def two_pass(
    problems: Sequence[Problem],
    strategy: Strategy,
    fleet: Fleet,
    *,
    prompter: Prompter,
    sampling: Sampling,
    seed: int = 0,
    stops: Mapping[str, tuple[str, ...]] | None = None,
) -> TwoPass:
    """Choose for every problem, then answer all of them, each by its expert.

    Args:
        stops: by expert, in the place of those of `sampling`. One batch for all who share them.
    """
    started = time.perf_counter()
    choices = strategy.choose([problem.prompt for problem in problems])
    chosen = time.perf_counter()
    requests = [
        prompter.request(
            problem,
            [rollout_seed(seed, problem.id, 0)],
            expert=None if choice.expert == BASE else choice.expert,
        )
        for problem, choice in zip(problems, choices, strict=True)
    ]
    ends = [sampling.stop if stops is None else stops[choice.expert] for choice in choices]
    completions = _answered(requests, ends, fleet, sampling)
    return TwoPass(choices, completions, chosen - started, time.perf_counter() - chosen)


def _answered(
    requests: Sequence[Request], ends: Sequence[tuple[str, ...]], fleet: Fleet, sampling: Sampling
) -> list[Completion]:
    found: dict[int, Completion] = {}
    for stop in dict.fromkeys(ends):
        rows = [row for row, end in enumerate(ends) if end == stop]
        groups = fleet.rollout([requests[row] for row in rows], replace(sampling, stop=stop))
        found |= {row: group[0] for row, group in zip(rows, groups, strict=True)}
    return [found[row] for row in range(len(requests))]
