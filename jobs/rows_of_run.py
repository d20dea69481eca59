"""Whether problems that are drawn anew may be those an expert was trained on.

A single file of rows is divided by a draw. Once it has grown or changed, or is divided otherwise,
that draw gives other rows: some of the test problems are then rows of the training. The digest in
the folder of the expert's run tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlpeft.errors import DataError
from rlpeft.experts.files import ExpertCard
from rlpeft.experts.hub import known_as
from rlpeft.experts.steps import run_of
from rlpeft.files import read_json_if_there
from rlpeft.recipe.run import TaskConfig
from rlpeft.runs.checkpoint import FINGERPRINT_FILE
from rlpeft.tasks.base import SPLITS, Split, Task
from rlpeft.terminal import note


def may_be_trained_on(task: TaskConfig, trained: Mapping[str, Any]) -> bool:
    """Whether these may be the rows that the expert was trained on, of which it saw a part.

    Then they are divided as they were in training. A path is compared by its last part: a run may
    have been started in another folder.
    """
    if task.name != trained.get("name"):
        return False
    paths = (task.path, trained.get("path"))
    return None in paths or len({Path(str(path)).name for path in paths}) == 1


def refuse_trained_on(
    folder: Path, card: ExpertCard, section: TaskConfig, task: Task, split: Split
) -> None:
    """Refuse problems that were drawn from other rows, or otherwise, than in an expert's training.

    Of an expert without the folder of its run that cannot be told, which is said.

    Args:
        section, task: what its problems are taken from.

    Raises:
        DataError: some of them may have been trained on.
    """
    if not may_be_trained_on(section, card.task) or not _is_drawn(task, split):
        return
    source, expert = section.source, known_as(folder)
    stored = read_json_if_there(run_of(folder) / FINGERPRINT_FILE) or {}
    if "data" not in stored:
        note(
            f"the {split} problems are drawn from {source!r}, and {expert!r} lies in no folder of "
            "a run, which would tell whether it was trained on some of them."
        )
    elif stored["data"] != task.fingerprint():
        raise DataError(
            f"the {split} problems of {source!r} must be drawn from the rows that {expert!r} was "
            "trained on, and as they were then: rows or [task] have changed since, and some of "
            "these problems may have been trained on. Restore both, or name rows that were not "
            "trained on, in a file of another name: --set task.path=FILE"
        )


def _is_drawn(task: Task, split: Split) -> bool:
    """Whether the source has no such split, so that it was carved from another: ids tell."""
    sources = {split_in for p in task.split(split) for split_in in p.id.split("/")[-2:-1]}
    return any(other in sources for other in SPLITS if other != split)
