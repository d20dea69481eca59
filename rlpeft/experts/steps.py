"""The adapter of every step, each an expert of its own, as long as they fit.

    run/steps/step_00000012/   an expert folder: evaluate it, export it, mix it

They take a few hundred kilobytes each. What no longer fits `train.keep_bytes` is pruned, the
oldest first; the best expert and the newest checkpoints lie elsewhere and are not counted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rlpeft.experts.files import STEPS_FOLDER, ExpertCard, save_expert
from rlpeft.files import remove

if TYPE_CHECKING:
    from rlpeft.adapter_state import AdapterState


def step_folder(run: Path, step: int) -> Path:
    """Where a run keeps the adapter of a step."""
    return run / STEPS_FOLDER / f"step_{step:08d}"


def run_of(expert: Path) -> Path:
    """The folder of the run that an expert's lies in: the one above, or above its steps."""
    above = expert.absolute().parent
    return above.parent if above.name == STEPS_FOLDER else above


def list_steps(run: Path) -> list[Path]:
    """The kept adapters of a run, oldest first."""
    return sorted((run / STEPS_FOLDER).glob("step_*"))


def keep_step(run: Path, state: AdapterState, card: ExpertCard, *, keep_bytes: int) -> None:
    """Keep the adapter of `card.step`, and as many before it as fit `keep_bytes` with it."""
    folder = step_folder(run, card.step)
    if state.num_bytes > keep_bytes:
        return
    save_expert(folder, state, card)
    # All are of one size, but for a few digits on a card.
    size = sum(file.stat().st_size for file in folder.iterdir())
    kept = list_steps(run)
    for old in kept[: max(0, len(kept) - keep_bytes // size)]:
        remove(old)
