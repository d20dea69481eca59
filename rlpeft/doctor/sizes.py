"""How many problems a task has, and how much an accuracy on so many says."""

from __future__ import annotations

from rlpeft.doctor.row import Check, ok, warn
from rlpeft.experts.intervals import wilson_interval
from rlpeft.tasks.base import SPLITS, Split, Task, repeats

WIDEST = 0.405
"""Of a 95 % interval with half of the answers right: 20 problems have less."""


def check_sizes(task: Task, source: str) -> Check:
    """The sizes of splits; so few that they tell no expert from its base are to be known of."""
    sizes = {split: len(task.split(split)) for split in SPLITS}
    left_out = sum(task.left_out.values())
    went = f"; {left_out} left out, whose prompts stand in a later split" if left_out else ""
    listed = ", ".join(_sized(task, split, size) for split, size in sizes.items())
    found = f"{source}: {listed} problems{went}"
    measured = SPLITS[1:]
    each = ", ".join(f"of {sizes[s]} {s} problems {_shown(sizes[s])}" for s in measured)
    found = f"{found}. An accuracy of 50 % has a 95 % interval that {each}"
    few = [split for split in measured if _width(sizes[split]) > WIDEST]
    if not few:
        return ok("task", found)
    return warn(
        "task",
        found,
        "Such figures tell no expert from its base unless these lie far apart: "
        f"raise {' and '.join(f'task.num_{split}' for split in few)}, or give more rows.",
    )


def _sized(task: Task, split: Split, size: int) -> str:
    """How many are asked, of how many where the source has more."""
    if split == "train" and task.num_train is None:
        return f"train rows that stream, {size} read first"
    more = task.unasked.get(split)
    return f"{size} of {size + more} {split}" if more else f"{size} {split}"


def check_repeats(task: Task) -> Check | None:
    """Problems of validation and test that are there twice; `None` if there are none."""
    found = {split: repeats(task.split(split)) for split in SPLITS if split != "train"}
    if not any(found.values()):
        return None
    each = " and ".join(f"{number} {split}" for split, number in found.items() if number)
    return warn(
        "repeats",
        f"{each} problems repeat the prompt and the gold of another",
        "An interval takes each for a problem of its own and is too narrow: remove the rows that "
        "are there twice.",
    )


def _width(number: int) -> float:
    low, high = wilson_interval(number / 2, number)
    return high - low


def _shown(number: int) -> str:
    low, high = wilson_interval(number / 2, number)
    return f"is {low:.0%} to {high:.0%}"
