"""Which problems an expert was trained on, known again whatever their file is called.

    run/trained_on.json   marks of every problem that the run may draw, of those that it chooses its
                          expert by, and of what experts that it goes back to had
    run/trained_on/…      of the problems of each block of rows that was read while it went on

A problem is known again by the text that a user gives the model, and, under another template, by
the question that its row holds and the gold answer; by what is seen of these, whichever way Unicode
writes it. Marks are digests: rows may be private, and a card that travels to the Hub carries none.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlpeft.errors import CheckpointError
from rlpeft.files import read_json, read_json_if_there, write_json
from rlpeft.types import Problem, Prompt

TRAINED_FILE, TRAINED_FOLDER = "trained_on.json", "trained_on"

MARK_BYTES = 8
"""Of a mark: that one of 1,000 problems is taken for one of a million happens once in 10^10."""

MEND = (
    "It keeps marks of the problems that an expert was trained on, so that none is taken for a "
    "test. Restore it; or remove it, and all goes on but for that, which is then said."
)
"""Of a damaged file."""

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
        folded: whether all marks are of folded texts (`_folded`). Those of runs from before are of
            texts as their rows write them: of a row that folding changes another form is missed.
    """

    marks: frozenset[str]
    chosen: frozenset[str] = frozenset()
    untold: tuple[str, ...] = ()
    folded: bool = True


def marks_of(problem: Problem) -> frozenset[str]:
    """What a problem is known again by, in runs of now and of before texts were folded.

    >>> one = Problem("a/train/0", "3714@=", "1437", {"question": "3714@"})
    >>> other = Problem("b/test/7", "Swap 3714@", "1437", {"text": "3714@"})
    >>> len(marks_of(one) & marks_of(other))
    1
    """
    return _folded_marks(problem) | _marks(problem, str)


def _folded_marks(problem: Problem) -> frozenset[str]:
    return _marks(problem, _folded)


def _marks(problem: Problem, form: Callable[[str], str]) -> frozenset[str]:
    asked = form(text_of(problem.prompt))
    columns = [value for value in problem.columns.values() if isinstance(value, str)]
    texts = [form(_one_line(value)) for value in columns]
    question = max((text for text in texts if text in asked), key=len, default="")
    seen = [image.digest for image in problem.images]
    found = {_mark([asked, *seen])}
    if question and len(question) >= LEAST_SHARE * len(asked):
        found.add(_mark([question, form(problem.answer), *seen]))
    return frozenset(found)


def text_of(prompt: Prompt) -> str:
    """What the user says in one line: no system turn and no beginning of the model's answer, which
    recipes add."""
    if isinstance(prompt, str):
        return _one_line(prompt)
    return _one_line(" ".join(turn["content"] for turn in prompt if turn["role"] == "user"))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _folded(line: str) -> str:
    """What is seen of a line: full-width letters and composed accents are the plain ones (NFKC),
    and signs without a width (categories Cf and Cc) are gone.

    >>> _folded("Ｓｗａｐ 3\\u200b7²")
    'Swap 37^2'
    """
    if not (line.isascii() and line.isprintable()):  # as most lines are, which is quick to know
        line = "".join(map(_seen, line))
    return _one_line(unicodedata.normalize("NFKC", line))


RAISED = {"<super>": "^", "<sub>": "_"}
"""What raised and lowered signs are led by: to NFKC alone 12² is 122, another problem."""


@cache
def _seen(sign: str) -> str:
    if unicodedata.category(sign) in ("Cf", "Cc"):
        return ""
    return RAISED.get(unicodedata.decomposition(sign).partition(" ")[0], "") + sign


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
        frozenset().union(*map(_folded_marks, problems), *(found.marks for found in known)),
        frozenset().union(*map(_folded_marks, chosen_by), *(found.chosen for found in known)),
        (*untold, *(name for found in known for name in found.untold)),
        all(found.folded for found in known),
    )


def keep_trained(run: Path, found: Trained) -> None:
    """Write it into the folder of a run, once: what a run goes on with is what it began with."""
    if not (run / TRAINED_FILE).exists():
        marks = {"train": sorted(found.marks), "validation": sorted(found.chosen)}
        tree = marks | {"untold": found.untold, "folded": found.folded}
        write_json(run / TRAINED_FILE, tree, indent=None)


def keep_trained_block(run: Path, name: str, problems: Sequence[Problem]) -> None:
    """Write the marks of problems that were read later, before any is drawn.

    Args:
        name: of the block, the same whenever it is read.
    """
    folder = run / TRAINED_FOLDER
    folder.mkdir(exist_ok=True)
    marks = sorted(frozenset().union(*map(_folded_marks, problems)))
    write_json(folder / f"{name}.json", {"train": marks}, indent=None)


def _read_blocks(run: Path) -> list[str]:
    found = list[str]()
    for path in sorted((run / TRAINED_FOLDER).glob("*.json")):
        tree: Any = read_json(path, mend=MEND)
        found += _texts(path, tree.get("train"))
    return found


def _texts(path: Path, each: Any) -> list[str]:
    if not isinstance(each, list) or not all(isinstance(text, str) for text in each):
        raise CheckpointError(
            f"{str(path)!r} must hold the marks of problems and names of experts, it holds "
            f"{each!r:.60}. {MEND}"
        )
    return each


def read_trained(run: Path) -> Trained | None:
    """What the folder of a run tells; `None` where it does not.

    Raises:
        CheckpointError, FileError: it holds something else.
    """
    path = run / TRAINED_FILE
    found = read_json_if_there(path, mend=MEND)
    if found is None:
        return None
    marks, chosen, untold = (
        _texts(path, found.get(name)) for name in ("train", "validation", "untold")
    )
    folded = found.get("folded", False)  # absent in runs from before texts were folded
    if not isinstance(folded, bool):
        raise CheckpointError(f"folded of {str(path)!r} must be true or false. {MEND}")
    every = frozenset([*marks, *_read_blocks(run)])
    return Trained(every, frozenset(chosen), tuple(untold), folded)
