"""What the folder of its run says of an expert whose figures are taken anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rlpeft.experts.files import EXPERT_FOLDER, read_card
from rlpeft.experts.hub import known_as
from rlpeft.experts.steps import run_of
from rlpeft.files import read_json_if_there
from rlpeft.runs.checkpoint import list_checkpoints, steps_done
from rlpeft.runs.fingerprint import REWARD_CODE, SUMMARY_FILE, read_fingerprint
from rlpeft.runs.records import RECIPE_FILE, read_kept_recipe
from rlpeft.runs.reward_code import reward_code


def said_of_runs(folders: Sequence[Path], rewards: Iterable[str]) -> list[str]:
    """What figures of these experts do not say themselves, to be told once they are measured.

    Args:
        folders: of the experts; of one without the folder of its run nothing is known.
        rewards: names of those that judge now.
    """
    now = reward_code(dict.fromkeys(rewards))
    return [
        line for folder in folders for line in (*_other_code(folder, now), *_unfinished(folder))
    ]


def _other_code(folder: Path, now: dict[str, str]) -> Iterator[str]:
    then = read_fingerprint(run_of(folder)).get(REWARD_CODE, {})
    changed = [name for name, digest in now.items() if then.get(name, digest) != digest]
    if changed:
        yield (
            f"the code of reward {' and '.join(map(repr, changed))} differs from that of the "
            f"training of {known_as(folder)!r}: figures are by today's, those on its card by the "
            "former."
        )


def _unfinished(folder: Path) -> Iterator[str]:
    run = run_of(folder)
    train = read_kept_recipe(run / RECIPE_FILE).get("train", {})
    if folder.name != EXPERT_FOLDER or "steps" not in train or not list_checkpoints(run):
        return
    summary, step = read_json_if_there(run / SUMMARY_FILE), steps_done(run)
    # Summaries of before version 0.2 do not say of how many steps they are.
    if summary is None or summary.get("steps", train["steps"]) != train["steps"]:
        yield (
            f"the run of {known_as(folder)!r} is unfinished (step {step} of {train['steps']}): "
            f"this is its best so far, of step {read_card(folder).step}."
        )
