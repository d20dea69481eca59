"""How it stands with a run, told from its folder alone: whoever watches it may be anybody."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from rlpeft.errors import DataError
from rlpeft.experts.files import CARD_FILE, EXPERT_FOLDER
from rlpeft.runs.driver import LOCK_FILE, has_driver
from rlpeft.runs.fingerprint import FINGERPRINT_FILE, SUMMARY_FILE
from rlpeft.runs.records import METRICS_FILE, RECIPE_FILE, read_kept_recipe, read_metrics

if TYPE_CHECKING:
    from rlpeft.report.charts import StepRows

RECENT = 20
"""Steps by which the length of the next is told."""

LONG_S, LONG_STEPS = 60.0, 5
"""A run waits when its last step is so long ago, and so many steps."""


class Phase(StrEnum):
    """What a run does."""

    BEGINS = "begins"
    RUNS = "runs"
    WAITS = "waits"
    TESTS = "tests"
    FINISHED = "finished"
    STOPPED = "stopped"


@dataclass(frozen=True)
class RunState:
    """What a run does, in one line."""

    phase: Phase
    line: str


def require_run(folder: Path) -> None:
    """Refuse to watch what is no run.

    Raises:
        DataError: the folder has nothing that a run of training leaves, or is a search's.
    """
    marks = (METRICS_FILE, FINGERPRINT_FILE, LOCK_FILE)
    is_search = "search" in read_kept_recipe(folder / RECIPE_FILE)
    if is_search or not any((folder / name).is_file() for name in marks):
        raise DataError(
            f"a run must have been started in {str(folder)!r}, there is none. Name the folder that "
            "`rlpeft train` writes, once it has begun."
        )


def moved(folder: Path) -> tuple[int, ...]:
    """Another value whenever the page of a run would be another."""
    found: list[int] = []
    for name in (METRICS_FILE, SUMMARY_FILE, f"{EXPERT_FOLDER}/{CARD_FILE}"):
        with suppress(FileNotFoundError):  # not yet there, or just being replaced
            stat = (folder / name).stat()
            found += [stat.st_size, stat.st_mtime_ns]
    return tuple(found)


def standing(folder: Path, now: float | None = None) -> RunState:
    """How it stands.

    Args:
        now: seconds since the epoch, as files have them.

    Raises:
        DataError, FileError: records are damaged.
    """
    rows, is_driven = _rows(folder, moved(folder)), has_driver(folder)
    total = read_kept_recipe(folder / RECIPE_FILE).get("train", {}).get("steps")
    place = f"step {rows[-1]['step']:,}" if rows else "before its first step"
    place += f" of {total:,}" if rows and isinstance(total, int) else ""
    if not is_driven and (folder / SUMMARY_FILE).is_file():
        return RunState(Phase.FINISHED, f"finished, {place}")
    if not is_driven:
        mend = "no driver of this machine is at work; the same command goes on"
        return RunState(Phase.STOPPED, f"stopped, {place}: {mend}")
    if not rows:
        return RunState(Phase.BEGINS, f"begun, {place}")
    if rows[-1]["step"] == total:
        return RunState(Phase.TESTS, f"{place}: all are done, the test is left")
    return _at_work(rows, place, total, _age(folder, now))


@lru_cache(maxsize=1)
def _rows(folder: Path, stamp: tuple[int, ...]) -> StepRows:
    """Metrics as they are at this stamp: a long run's are not read anew at every look."""
    return read_metrics(folder)


def _age(folder: Path, now: float | None) -> float:
    then = (folder / METRICS_FILE).stat().st_mtime
    return max(0.0, (time.time() if now is None else now) - then)


def _at_work(rows: StepRows, place: str, total: object, age_s: float) -> RunState:
    times = [row["step_time"] for row in rows[-RECENT:] if row.get("step_time") is not None]
    pace_s = fmean(times) if times else 0.0
    if age_s > max(LONG_S, LONG_STEPS * pace_s):
        took = f", where one took {pace_s:.1f} s" if times else ""
        line = f"{place}: none since {_spell(age_s)}{took}; the driver is there, and waits"
        return RunState(Phase.WAITS, line)
    left = (
        f", about {_spell(pace_s * (total - rows[-1]['step']))} left"
        if isinstance(total, int) and times
        else ""
    )
    return RunState(Phase.RUNS, f"{place}{left}")


def _spell(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
