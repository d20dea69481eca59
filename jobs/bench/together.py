"""What it saves to train four experts at once: against their lone runs, one after the other.

Both are commands, their start included: in one process on one core, and on Ray on two.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs.bench.rows import BenchRow
from jobs.bench.users import COMMAND
from jobs.recipes import find_recipe, read_together
from rlpeft.errors import ConfigError, EngineError
from rlpeft.files import write_text

MOST_TIME = {1: 0.85, 2: 0.7}
"""By cores."""

MOST_MEMORY = 0.4


@dataclass(frozen=True)
class Side:
    """What commands took, and the figures of each expert that they printed.

    Attributes:
        peak: largest resident memory of one process, in bytes; of several commands, their sum.
    """

    seconds: float
    peak: int
    summaries: dict[str, Any]

    @property
    def decided(self) -> dict[str, tuple[str, Any]]:
        """What must not depend on the company: digest and test of each expert."""
        return {name: (own["digest"], own["test"]) for name, own in self.summaries.items()}


def rows(*, name: str = "tiny-four", steps: int = 20) -> Iterator[BenchRow]:
    """Time on one core with its memory, and the same on two."""
    if len(os.sched_getaffinity(0)) < max(MOST_TIME):
        raise ConfigError("this bench needs two cores, one for the learner, one for an engine.")
    with TemporaryDirectory(prefix="rlpeft-bench-") as folder:
        for cores in MOST_TIME:
            sizes = [f"train.steps={steps}", "train.report_to=[]"]
            both = sides(name, sizes, Path(folder) / str(cores), cores=cores)
            yield from rows_of_sides(name, *both, cores=cores)


def rows_of_sides(name: str, at_once: Side, alone: Side, *, cores: int) -> Iterator[BenchRow]:
    """Time; and memory where all of it is one process's."""
    yield _time_row(name, at_once, alone, cores=cores)
    if cores == 1:
        yield _memory_row(name, at_once, alone)


def sides(name: str, settings: Sequence[str], root: Path, *, cores: int) -> tuple[Side, Side]:
    """The experts of a recipe at once, and one after the other."""
    found = read_together(name, settings)
    assert found is not None, f"{name!r} has no [[expert]]"
    place = ["--local"] if cores == 1 else ["--address", "local"]
    root.mkdir(parents=True)
    with _on_cores(cores):
        flags = [word for setting in settings for word in ("--set", setting)]
        at_once = _train(str(find_recipe(name)), *flags, *place, "--out", str(root / "together"))
        alone = []
        for own, recipe in found.recipes.items():
            path = root / f"{own}.json"
            write_text(path, recipe.model_dump_json())
            alone.append(_train(str(path), *place, "--out", str(root / own)))
    summaries = dict(zip(found.recipes, (each.summaries for each in alone), strict=True))
    seconds, peak = sum(each.seconds for each in alone), sum(each.peak for each in alone)
    return at_once, Side(seconds, peak, summaries)


def _train(*arguments: str) -> Side:
    """One `rlpeft train`."""
    started = time.perf_counter()
    command = [sys.executable, "-c", COMMAND, "train", *arguments, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise EngineError(f"rlpeft train {' '.join(arguments)} ended with {process.returncode}.")
    return Side(time.perf_counter() - started, 1024 * usage.ru_maxrss, json.loads(printed))


@contextmanager
def _on_cores(number: int) -> Iterator[None]:
    """So many cores for the processes that are started meanwhile."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(every)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def _time_row(name: str, at_once: Side, alone: Side, *, cores: int) -> BenchRow:
    ratio, most = at_once.seconds / alone.seconds, MOST_TIME[cores]
    where = "one process on one core" if cores == 1 else "Ray on two cores, rollout.max_lag = 0"
    return BenchRow(
        figure=f"{_what(name, at_once, alone)}: time of the commands, {where}",
        ours=at_once.seconds,
        peer=alone.seconds,
        ratio=ratio,
        unit="s",
        floor="the steps themselves, started once" if cores == 1 else "the slower of both sides",
        goal=f"<= {most} x, the same experts",
        met=ratio <= most and at_once.decided == alone.decided,
    )


def _memory_row(name: str, at_once: Side, alone: Side) -> BenchRow:
    ratio = at_once.peak / alone.peak
    return BenchRow(
        figure=f"{_what(name, at_once, alone)}: peak memory against the sum of theirs",
        ours=at_once.peak / 2**30,
        peer=alone.peak / 2**30,
        ratio=ratio,
        unit="GiB",
        floor=f"1/{len(alone.summaries)}: base, learner and engine once",
        goal=f"<= {MOST_MEMORY} x, the same experts",
        met=ratio <= MOST_MEMORY and at_once.decided == alone.decided,
    )


def _what(name: str, at_once: Side, alone: Side) -> str:
    same = "the same" if at_once.decided == alone.decided else "OTHER"
    return (
        f"{len(alone.summaries)} experts at once against one after the other ({name}; {same} bits)"
    )
