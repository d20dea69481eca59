"""Answer prompts in two passes: choose an expert for each, then answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.library import Shelf, open_library, stops_of
from rlpeft.choose.strategies import make_strategy
from rlpeft.choose.two_pass import TwoPass, two_pass
from rlpeft.types import Problem, Sampling


def generate(
    problems: Sequence[Problem],
    shelf: Shelf,
    *,
    strategy: str,
    temperature: float = 0.0,
    seed: int = 0,
    stop: Sequence[str] | None = None,
) -> tuple[list[dict[str, Any]], TwoPass]:
    """Answer prompts with the experts of a shelf.

    Args:
        problems: experts are chosen by their text, and not by their images.
        strategy: `prompt`, `classifier`, `few-shot`, or the name of an expert.
        temperature: of the answers; the first pass is always greedy.
        stop: see `jobs.library.stops_of`.

    Returns:
        One row a prompt: expert, why, text, finish reason; and both passes with their seconds.
    """
    sampling = Sampling(shelf.spec.rollout.max_tokens, temperature=temperature)
    with open_library(shelf) as library:
        chosen = make_strategy(strategy, library.experts, library.fleet, library.prompter)
        found = two_pass(
            problems,
            chosen,
            library.fleet,
            prompter=library.prompter,
            sampling=sampling,
            seed=seed,
            stops=stops_of(library.experts, stop),
        )
    rows = [
        {
            "prompt": problem.prompt if isinstance(problem.prompt, str) else list(problem.prompt),
            "expert": choice.expert,
            "why": choice.why,
            "text": completion.text,
            "finish_reason": completion.finish_reason.value,
        }
        for problem, choice, completion in zip(
            problems, found.choices, found.completions, strict=True
        )
    ]
    return rows, found
