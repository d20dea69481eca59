"""What a command says first; see `rlpeft.program.opening`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.cli.flags import say_assumed
from rlpeft.terminal import near_path, note, say

if TYPE_CHECKING:
    from rlpeft.recipe.run import Recipe


def say_training(recipe: Recipe, folder: Path, *, is_given: bool) -> None:
    """Say what is trained, and by which figure its expert will be chosen.

    Args:
        folder: of the run.
        is_given: whether there is a recipe; else what is assumed is said, too.
    """
    if not is_given:
        say_assumed(recipe, folder)
    from rlpeft.program.opening import said_of_training
    from rlpeft.recipe.reward import chosen_by

    bounds = {reward.name: reward.correct_at for reward in recipe.rewards}
    figure = chosen_by(recipe.train.select, bounds)
    say(said_of_training(recipe.name, recipe.train.steps, figure), err=True)


def ended_before(recipe: Recipe, folder: Path, *, method: str) -> dict[str, Any] | None:
    """See `ended`; a run that has ended is told of."""
    summary = ended(recipe, folder, method=method)
    if summary is not None:
        say_ended(summary, recipe, folder)
    return summary


def ended(recipe: Recipe, folder: Path, *, method: str) -> dict[str, Any] | None:
    """The summary of a run that is there and has ended; `None` of any other.

    Refuses what would stop it, as far as that is known before libraries are loaded.

    Args:
        method: see `rlpeft.doctor.early.finished`.
    """
    from rlpeft.doctor.early import finished, refuse_early
    from rlpeft.doctor.own_rewards import refuse_absent
    from rlpeft.models.folder import resolve_model
    from rlpeft.program.hub import refuse_origin
    from rlpeft.runs.fingerprint import REPORT_FILE

    resolve_model(recipe.model.name)
    summary = finished(recipe, folder, method)
    if summary is None:
        if not recipe.resources.reward_gpus:  # else they may lie where the GPUs are
            refuse_absent(reward.name for reward in recipe.rewards)
        model = recipe.model
        refuse_origin(folder, model.name, start=model.start, merge=model.merge)
        refuse_early(recipe, folder, method=method)
        return None
    return summary | {"report": str(folder / REPORT_FILE)}


def say_ended(summary: Mapping[str, Any], recipe: Recipe, folder: Path) -> None:
    """Say whose figures follow, where nothing runs."""
    where, steps = near_path(str(folder)), summary["steps"]
    say("nothing ran: these are the figures of the finished run in", where, err=True)
    if steps != recipe.train.steps:
        note(f"they are of {steps} steps, {recipe.train.steps} were asked for: no step is undone.")


def say_opening() -> None:
    """Say what comes between libraries and the first step, which takes a large model minutes."""
    say("Opening model and engines.", err=True)


def say_beginning(text: str) -> None:
    """Say what will be done."""
    from rlpeft.program.opening import LOADING

    say(f"{text} {LOADING}", err=True)
