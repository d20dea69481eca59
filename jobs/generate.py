"""Answer prompts in two passes: choose an expert for each, then answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.library import Shelf, open_library, stops_of
from rlpeft.choose.strategies import make_strategy
from rlpeft.choose.two_pass import TwoPass, two_pass
from rlpeft.errors import DataError
from rlpeft.tasks.jsonl import numbered_rows
from rlpeft.tasks.rows import as_prompt
from rlpeft.types import Problem, Prompt, Sampling


def read_prompts(path: Path) -> list[Prompt]:
    """The `prompt` of each line of a JSONL file: a text, or a list of chat turns.

    Raises:
        DataError: no such file, no line, or a line without a prompt; names the line.
    """
    if not path.is_file():
        raise DataError(f"--file must be a JSONL file, {str(path)!r} is none.")
    found = [_prompt(row, f"{path}:{number}") for number, row in numbered_rows(path)]
    if not found:
        raise DataError(f"--file must hold one JSON object a line, {str(path)!r} is empty.")
    return found


def _prompt(row: Mapping[str, Any], where: str) -> Prompt:
    if "prompt" not in row:
        raise DataError(f"{where} must be a JSON object with a 'prompt', it has {sorted(row)}.")
    try:
        return as_prompt(row["prompt"])
    except DataError as error:
        raise DataError(f"{where} {error}.") from error


def generate(
    prompts: Sequence[Prompt],
    shelf: Shelf,
    *,
    strategy: str,
    temperature: float = 0.0,
    seed: int = 0,
    stop: Sequence[str] | None = None,
) -> tuple[list[dict[str, Any]], TwoPass]:
    """Answer prompts with the experts of a shelf.

    Args:
        strategy: `prompt`, `classifier`, `few-shot`, or the name of an expert.
        temperature: of the answers; the first pass is always greedy.
        stop: see `jobs.library.stops_of`.

    Returns:
        One row a prompt: expert, why, text, finish reason; and both passes with their seconds.
    """
    problems = [Problem(str(number), prompt) for number, prompt in enumerate(prompts)]
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
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            "expert": choice.expert,
            "why": choice.why,
            "text": completion.text,
            "finish_reason": completion.finish_reason.value,
        }
        for prompt, choice, completion in zip(
            prompts, found.choices, found.completions, strict=True
        )
    ]
    return rows, found
