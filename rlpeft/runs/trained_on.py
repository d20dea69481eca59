"""Which problems an expert was trained on, known again whatever their file is called.

    run/trained_on.json   marks of every problem that the run may draw, of those that it chooses its
                          expert by, and of what experts that it goes back to had

A problem is known again by the text that a user gives the model, and, under another template, by
the question that its row holds and the gold answer. Marks are digests: rows may be private, and a
card that travels to the Hub carries none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpeft.errors import CheckpointError
from rlpeft.files import read_json_if_there, write_json
from rlpeft.types import Problem, Prompt

TRAINED_FILE = "trained_on.json"

MARK_BYTES = 8
"""Of a mark: that one of 1,000 problems is taken for one of a million happens once in 10^10."""

LEAST_SHARE = 0.5
"""Of the prompt, that a text of the row must make up to be its question: less is a number, or an
option to choose from, which problems have in common."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What is known of the problems that an expert was trained on.

    Attributes:
        marks: of those that it was trained on; see `marks_of`.
        chosen: of those that it was chosen by.
        untold: experts that it goes back to, of which it is not known.
    """

    marks: frozenset[str]
    chosen: frozenset[str] = frozenset()
    untold: tuple[str, ...] = ()


def marks_of(problem: Problem) -> frozenset[str]:
    """What a problem is known again by.

    >>> one = Problem("a/train/0", "3714@=", "1437", {"question": "3714@"})
    >>> other = Problem("b/test/7", "Swap 3714@", "1437", {"text": "3714@"})
    >>> len(marks_of(one) & marks_of(other))
    1
    """
    asked = text_of(problem.prompt)
    texts = [_one_line(value) for value in problem.columns.values() if isinstance(value, str)]
    question = max((text for text in texts if text in asked), key=len, default="")
    found = {_mark([asked])}
    if question and len(question) >= LEAST_SHARE * len(asked):
        found.add(_mark([question, problem.answer]))
    return frozenset(found)


def text_of(prompt: Prompt) -> str:
    """What the user says in one line: no system turn and no beginning of the model's answer, which
    recipes add."""
    if isinstance(prompt, str):
        return _one_line(prompt)
    return _one_line(" ".join(turn["content"] for turn in prompt if turn["role"] == "user"))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _mark(parts: Sequence[str]) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=MARK_BYTES).hexdigest()


def trained_on(
    problems: Sequence[Problem],
    chosen_by: Sequence[Problem],
    before: Mapping[str, Trained | None],
) -> Trained:
    """What an expert is trained on and chosen by, with what it inherits.

    Args:
        before: of the experts that it goes back to, by their names; `None` where it is not known.
    """
    known = [found for found in before.values() if found is not None]
    untold = [name for name, found in before.items() if found is None]
    return Trained(
        frozenset().union(*map(marks_of, problems), *(found.marks for found in known)),
        frozenset().union(*map(marks_of, chosen_by), *(found.chosen for found in known)),
        (*untold, *(name for found in known for name in found.untold)),
    )


def keep_trained(run: Path, found: Trained) -> None:
    """Write it into the folder of a run, once: what a run goes on with is what it began with."""
    if not (run / TRAINED_FILE).exists():
        marks = {"train": sorted(found.marks), "validation": sorted(found.chosen)}
        tree = marks | {"untold": found.untold}
        write_json(run / TRAINED_FILE, tree, indent=None)


def read_trained(run: Path) -> Trained | None:
    """What the folder of a run tells; `None` where it does not.

    Raises:
        CheckpointError: it holds something else.
    """
    path = run / TRAINED_FILE
    found = read_json_if_there(path)
    if found is None:
        return None
    texts: Any
    for texts in (found.get(name) for name in ("train", "validation", "untold")):
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise CheckpointError(
                f"{str(path)!r} must hold the marks of problems and names of experts, it holds "
                f"{texts!r:.60}. Restore it, or remove it: what the expert was trained on is then "
                "not known."
            )
    marks, chosen = frozenset(found["train"]), frozenset(found["validation"])
    return Trained(marks, chosen, tuple(found["untold"]))
