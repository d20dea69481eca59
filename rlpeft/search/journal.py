"""Every evaluation of a search, written down as soon as it is known.

One line an evaluation: the digest of the mix, the problem, the sampling seed, and what came of
it. A search that is cut off, however it ends, asks for nothing again that stands here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rlpeft.errors import CheckpointError
from rlpeft.files import append, make_folder, plain_errors


class Key(NamedTuple):
    """What decides an answer: the digest of the mix's tensors, the problem's id, the seed."""

    digest: str
    problem: str
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a mix made of one problem.

    Attributes:
        worth: whether it is correct; its score where the reward judges nothing; `None` where it
            could not be scored.
        logprob: mean log-prob of the answer's tokens under the mix.
    """

    worth: bool | float | None
    logprob: float


class Journal:
    """Outcomes by key, in memory and in a file that is only ever added to.

    A last line without an end is what a killed process was writing: it is cut off.

    Raises:
        CheckpointError: another line is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[Key, Outcome] = {}
        make_folder(path.parent)
        with plain_errors(path), path.open("ab+") as file:
            file.seek(0)
            whole, newline, _ = file.read().rpartition(b"\n")
            file.truncate(len(whole) + len(newline))
        for number, line in enumerate(whole.splitlines(), start=1):
            self._read(line, number)

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    def __getitem__(self, key: Key) -> Outcome:
        return self._known[key]

    def __len__(self) -> int:
        return len(self._known)

    def add(self, outcomes: Mapping[Key, Outcome]) -> None:
        """Keep these; they are on the disk when this returns."""
        rows = [[*key, found.worth, found.logprob] for key, found in outcomes.items()]
        # As bytes they are one write: a process is killed before it or after.
        append(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self._known.update(outcomes)

    def _read(self, line: bytes, number: int) -> None:
        try:
            digest, problem, seed, worth, logprob = json.loads(line)
            key = Key(str(digest), str(problem), int(seed))
            outcome = Outcome(_worth(worth), float(logprob))
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise CheckpointError(
                f"line {number} of {str(self.path)!r} must be an evaluation, got {line[:80]!r}. "
                "Delete that file: its evaluations are then made again."
            ) from error
        self._known[key] = outcome


def _worth(value: Any) -> bool | float | None:
    return value if value is None or isinstance(value, bool) else float(value)
