"""Whether prompts hold their own gold answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from rlpeft.doctor.row import Check, ok, warn
from rlpeft.tasks.base import Task
from rlpeft.types import Problem

NUM_PROBLEMS = 256
"""Problems that are looked at."""

MOST_BY_CHANCE = 0.5
"""Share of prompts that may hold their own gold more often than another's, less the reverse."""


def check_leak(task: Task) -> Iterator[Check]:
    """Look for each gold answer in its prompt, and for other golds as the control.

    Options to choose from stand in every prompt, and a small number in many; neither gives an
    answer away. What tells is a gold that stands in its own prompt more often than another's does.
    """
    problems = [p for p in task.split("train")[:NUM_PROBLEMS] if p.answer.strip()]
    if not problems:
        return
    own = [occurrences(problem, problem.answer) for problem in problems]
    others = [occurrences(problem, _another(at, problems)) for at, problem in enumerate(problems)]
    pairs = list(zip(own, others, strict=True))
    more, less = _share(a > b for a, b in pairs), _share(a < b for a, b in pairs)
    found = (
        f"{_share(a > 0 for a in own):.0%} of {len(problems)} prompts hold their gold answer; to "
        f"compare, {_share(b > 0 for b in others):.0%} hold that of another problem. Their own "
        f"stands there more often in {more:.0%}, and less often in {less:.0%}"
    )
    if more - less > MOST_BY_CHANCE:
        yield warn(
            "gold answers in prompts",
            found,
            "That is no chance. Fine if an answer is to be found in its prompt; otherwise a column "
            "or the template gives it away, and the policy learns to copy.",
        )
    else:
        yield ok("gold answers in prompts", found)


def _share(found: Iterable[bool]) -> float:
    return fmean(map(float, found))


def _another(at: int, problems: Sequence[Problem]) -> str:
    """The next gold that differs from that of problem `at`; empty if all are the same."""
    own = problems[at].answer
    after = (problems[(at + n) % len(problems)].answer for n in range(1, len(problems)))
    return next((answer for answer in after if answer != own), "")


def occurrences(problem: Problem, answer: str) -> int:
    """How often the prompt has the answer in it, as words of its own."""
    prompt = problem.prompt
    text = prompt if isinstance(prompt, str) else "\n".join(turn["content"] for turn in prompt)
    words = r"\s+".join(map(re.escape, answer.split()))
    return len(re.findall(rf"(?<!\w){words}(?!\w)", text, flags=re.IGNORECASE)) if words else 0
