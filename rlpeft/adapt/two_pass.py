"""Two passes: choose the expert, then answer (Transformer², arXiv 2501.06252, §3.2)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rlpeft.adapt.strategies import Choice, Strategy
from rlpeft.evaluate import Prompter, rollout_seed
from rlpeft.mixing import BASE
from rlpeft.rollout.fleet import Fleet
from rlpeft.types import Completion, Problem, Sampling


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
) -> TwoPass:
    """Choose for every problem, then answer all of them in one batch, each by its expert."""
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
    completions = [group[0] for group in fleet.rollout(requests, sampling)]
    return TwoPass(choices, completions, chosen - started, time.perf_counter() - chosen)
