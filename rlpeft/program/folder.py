"""The folder of a run or a search: one driver at a time, and never a folder of something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlpeft.errors import CheckpointError
from rlpeft.experts.files import CARD_FILE, EXPERT_FOLDER, STEPS_FOLDER, read_card
from rlpeft.files import (
    make_folder,
    plain_errors,
    sweep,
)
from rlpeft.runs.checkpoint import list_checkpoints, steps_done
from rlpeft.runs.driver import LOCK_FILE, take
from rlpeft.runs.fingerprint import SUMMARY_FILE, check_fingerprint, refuse_strangers
from rlpeft.runs.records import COMPLETIONS_FOLDER, RECIPE_FILE, read_kept_recipe, read_metrics
from rlpeft.runs.trained_on import TRAINED_FOLDER
from rlpeft.terminal import near_path, note, say

WRITTEN = ("checkpoints", COMPLETIONS_FOLDER, STEPS_FOLDER, TRAINED_FOLDER)
"""Folders of a run in which files are replaced."""


@contextmanager
def lone_run(out: Path) -> Iterator[None]:
    """Hold a run's folder: two drivers in it would overwrite each other's steps.

    The lock ends with the process, however it ends.

    Raises:
        CheckpointError: another driver is at work there, or the folder is none of ours.
        FileError: there can be no folder, or it cannot be written to.
    """
    refuse_strangers(out)
    make_folder(out)
    with plain_errors(out):
        lock = (out / LOCK_FILE).open("w")
    with lock:
        if not take(lock):
            raise CheckpointError(
                f"run {str(out)!r} must have one driver, another one is at work in it. Wait for "
                "it, stop it, or choose another folder."
            )
        for folder in (out, *(out / name for name in WRITTEN)):
            sweep(folder)
        yield


def start_or_continue(out: Path, found: Mapping[str, Any]) -> None:
    """Refuse to continue a run under another set-up; one without a step may still be mended.

    Raises:
        CheckpointError: the folder is a run's that was started with something else.
    """
    unknown = check_fingerprint(out, found, anew=not (list_checkpoints(out) or has_results(out)))
    if unknown:
        note(
            f"run {str(out)!r} was started before fingerprints held {', '.join(unknown)}: "
            "whether it goes on under the same one cannot be told."
        )


def say_continuing(out: Path, total: int, *, unit: str = "step") -> None:
    """Say from where a run goes on: once nothing can refuse it any more.

    Args:
        total: how many steps it shall have; one that has them does not go on.
        unit: what one is called.
    """
    if 0 < (done := steps_done(out)) < total:
        say(f"continuing from {unit} {done} of", near_path(str(out)), err=True)


def said_of_ranks(out: Path, learners: int) -> list[str]:
    """What changes where a run goes on with another number of learner ranks; else nothing."""
    stored = read_kept_recipe(out / RECIPE_FILE)
    before = stored.get("resources", {}).get("learners", 1)
    if before == learners or not list_checkpoints(out):
        return []
    return [
        f"run {str(out)!r} had resources.learners = {before} and goes on with {learners}: "
        "gradients of other micro-batches are summed in another order, which changes them by "
        "rounding; MoSLoRA's balance is of other micro-batches."
    ]


def refuse_lost_checkpoints(out: Path) -> None:
    """Refuse to begin anew where a run has got somewhere: that would overwrite its expert.

    Raises:
        CheckpointError: results without a checkpoint to continue from.
    """
    if not list_checkpoints(out) and has_results(out):
        raise CheckpointError(
            f"run {str(out)!r} has results and must have a checkpoint to continue from, it has "
            "none; a new run there would overwrite its expert. Choose another folder, or remove "
            "that folder."
        )


def has_results(out: Path) -> bool:
    """Whether a run got further than what is done again without loss, its first step."""
    if (out / SUMMARY_FILE).exists():
        return True
    expert = out / EXPERT_FOLDER
    if (expert / CARD_FILE).exists():
        card = read_card(expert)
        if card.step > 1 or card.test is not None:
            return True
    return any(row["step"] > 1 for row in read_metrics(out))
