"""What the folder of its run says of an expert whose figures are taken anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rlpeft.experts.files import EXPERT_FOLDER, read_card
from rlpeft.experts.hub import known_as
from rlpeft.experts.steps import run_of
from rlpeft.files import read_json_if_there
from rlpeft.runs.checkpoint import list_checkpoints
from rlpeft.runs.fingerprint import FINGERPRINT_FILE, REWARD_CODE, SUMMARY_FILE
from rlpeft.runs.records import RECIPE_FILE
from rlpeft.runs.reward_code import reward_code
from rlpeft.terminal import note


def tell_of_runs(folders: Sequence[Path], rewards: Iterable[str]) -> None:
    """Say, on the error stream, what figures of these experts do not say themselves.

    Args:
        folders: of the experts; of one without the folder of its run nothing is known.
        rewards: names of those that judge now.
    """
    now = reward_code(dict.fromkeys(rewards))
    for folder in folders:
        _tell_other_code(folder, now)
        _tell_unfinished(folder)


def _tell_other_code(folder: Path, now: dict[str, str]) -> None:
    then = (read_json_if_there(run_of(folder) / FINGERPRINT_FILE) or {}).get(REWARD_CODE, {})
    changed = [name for name, digest in now.items() if then.get(name, digest) != digest]
    if changed:
        note(
            f"the code of reward {' and '.join(map(repr, changed))} differs from that of the "
            f"training of {known_as(folder)!r}: figures are by today's, those on its card by the "
            "former."
        )


def _tell_unfinished(folder: Path) -> None:
    run = run_of(folder)
    train = (read_json_if_there(run / RECIPE_FILE) or {}).get("train")
    if folder.name != EXPERT_FOLDER or train is None or not (done := list_checkpoints(run)):
        return
    summary, step = read_json_if_there(run / SUMMARY_FILE), int(done[-1].name[5:])
    # Summaries of before version 0.2 do not say of how many steps they are.
    if summary is None or summary.get("steps", train["steps"]) != train["steps"]:
        note(
            f"the run of {known_as(folder)!r} is unfinished (step {step} of {train['steps']}): "
            f"this is its best so far, of step {read_card(folder).step}."
        )
