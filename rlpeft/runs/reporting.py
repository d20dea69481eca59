"""A run tells its trackers; one that fails ends no run, and is not passed over in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlpeft.errors import ConfigError
from rlpeft.runs.trackers import TRACKERS, Pictures, Rows, Tracker
from rlpeft.terminal import note

MOST_ROWS = 32
"""Completions of a step that trackers are given: all of them lie in the run's folder."""

IS_VALIDATION = "eval_"
"""How metrics begin of the steps whose completions are given: a table a step would be too many."""


class Reporting:
    """The trackers of a run.

    One that fails is told of and gets nothing more: it would fail again, and hold up each step.

    Args:
        folder: the run's.
        recipe: as JSON has it.
        names: as in `train.report_to`.

    Raises:
        ConfigError: a tracker is not installed, or is set up wrongly.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, Any], names: Sequence[str]) -> None:
        self._trackers: dict[str, Tracker] = {}
        self._lost: dict[str, str] = {}
        self._rows: Rows = ()
        for name in names:
            self._try(name, "at its start", lambda n: self._open(n, folder, recipe))

    @property
    def takes_rows(self) -> bool:
        """Whether anybody is left to be told of completions."""
        return bool(self._trackers)

    @property
    def takes_pictures(self) -> bool:
        """Whether charts need to be drawn."""
        return any(tracker.takes_pictures for tracker in self._trackers.values())

    def completions(self, rows: Rows) -> None:
        """Those of the step whose metrics come next."""
        self._rows = rows

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step and, where it had a validation, some of its completions."""
        self._tell(f"at step {step}", lambda tracker: tracker.log(step, values))
        rows, self._rows = self._rows, ()
        if rows and any(name.startswith(IS_VALIDATION) for name in values):
            self._tell(f"at step {step}", lambda tracker: tracker.completions(step, rows))

    def pictures(self, step: int, pictures: Pictures) -> None:
        """The charts of the report."""
        self._tell("at the end", lambda tracker: tracker.pictures(step, pictures))

    def rewind(self, step: int) -> None:
        """Steps after this one are told again."""
        self._tell("as the run went on", lambda tracker: tracker.rewind(step))

    def close(self) -> None:
        """Close the trackers, and say again which were lost. May be called twice."""
        self._tell("at the end", lambda tracker: tracker.close())
        self._trackers.clear()
        for name, when in self._lost.items():
            note(f"tracker {name!r} was lost {when}; metrics.jsonl has every step.")
        self._lost.clear()

    def _open(self, name: str, folder: Path, recipe: Mapping[str, Any]) -> None:
        self._trackers[name] = TRACKERS[name](folder, recipe)

    def _tell(self, when: str, tell: Callable[[Tracker], None]) -> None:
        for name in [*self._trackers]:
            self._try(name, when, lambda n: tell(self._trackers[n]))

    def _try(self, name: str, when: str, call: Callable[[str], None]) -> None:
        try:
            call(name)
        except ConfigError:
            raise
        except Exception as error:  # whatever libraries and networks raise: the run goes on
            self._trackers.pop(name, None)
            self._lost[name] = when
            cause = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
            note(f"tracker {name!r} failed {when}, the run goes on without it: {cause:.300}")
