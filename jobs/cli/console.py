"""What a person sees in the terminal of a run as it goes.

Everything that decides what is shown is a pure function of records; `RunDisplay` only draws. On
a terminal one line is kept up to date; elsewhere (a log, a pipe) each step is a plain line, at
most one a second beside those of validations.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Protocol, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as ProgressBar

from jobs.cli.screen import Screen
from rlpeft.experts.files import EXPERT_FOLDER
from rlpeft.recipe.run import LossConfig
from rlpeft.runs.checkpoint import steps_done
from rlpeft.runs.figures import Validation, figures, validation
from rlpeft.runs.signal import nothing_to_learn, teaching
from rlpeft.terminal import ended_with, near_path
from rlpeft.typed import this_command

Told = ParamSpec("Told")

RATE_WINDOW = 20
"""Steps over which the rate is taken."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

FIRST_STEPS = 3
"""After so many without a difference between scores a run is likely to go on like that."""

PLAIN_INTERVAL_S = 1.0
"""Least time between two plain lines."""

WITHIN_A_STEP_S = 30.0
"""Least time between two of a step that is not done yet."""

Below = Callable[[int], RenderableType | None]
"""What is shown of a step below its line, if anything."""


class Counted(Protocol):
    """Whatever goes step by step."""

    @property
    def step(self) -> int:
        """How many are done."""
        ...


class Rate:
    """Steps a second over the last few steps of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque(maxlen=RATE_WINDOW + 1)

    def at(self, step: int) -> float | None:
        """The rate once `step` is done; `None` before two steps were seen."""
        self._seen.append((self._clock(), step))
        (then, first), (now, last) = self._seen[0], self._seen[-1]
        return (last - first) / (now - then) if now > then and last > first else None


def pace(rate: float | None, steps_left: int, unit: str = "step") -> str:
    """Rate and time left; seconds a step where a step takes longer than one."""
    if rate is None:
        return ""
    speed = f"{rate:.1f} {unit}s/s" if rate >= 1 else f"{1 / rate:.1f} s/{unit}"
    return f"{speed}  {clock_time(steps_left / rate)} left"


def clock_time(seconds: float) -> str:
    """`0:07`, `12:30` or `3:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


GAP = "  "
BAR_WIDTH, WIDE = 20, 110
"""Columns of the bar, and of the terminal that has room for it beside the figures."""

LEFT_OUT = ("kl ", "learner idle ", "engines idle ", "spread ", "mean ")
"""Figures that a narrow terminal does without, the least needed first."""


def fitted(shown: str, paced: str, width: int) -> str:
    """Figures and pace in so many columns; what is least needed is left out first."""
    pieces, times = shown.split(GAP), paced.split(GAP)
    for start in (*LEFT_OUT, *times[:1], *times[1:]):
        if len(line := GAP.join(filter(None, (*pieces, *times)))) <= width:
            return line
        pieces = [piece for piece in pieces if not piece.startswith(start)]
        times = [time for time in times if time != start]
    return GAP.join(filter(None, (*pieces, *times)))


@contextmanager
def run_shown(
    folder: Path,
    total_steps: int,
    *,
    unit: str = "step",
    loss: LossConfig | None = None,
    below: Below | None = None,
) -> Iterator[RunDisplay]:
    """Show a run as it goes: its steps, and how to go on after Ctrl-C.

    Args:
        folder: the run's.
        loss: of a run that learns from rewards.
    """
    done = steps_done(folder)
    in_groups = loss is None or loss.compares_groups
    display = RunDisplay(total_steps, unit=unit, done=done, in_groups=in_groups, below=below)
    try:
        with display:
            yield display
    except KeyboardInterrupt:
        expert = folder / EXPERT_FOLDER
        if steps_done(folder) >= total_steps and expert.is_dir():
            told = (
                f"stopped in the test; all {total_steps:,} {unit}s are done, their best is kept in"
            )
            display.say(told, near_path(str(expert)))
            display.say("to test it, which trains no more:", this_command())
        else:
            display.say(f"stopped; to go on from the last {unit}:", this_command())
        raise SystemExit(INTERRUPTED) from None
    if not display.has_stepped:
        display.say(
            "nothing ran: these are the figures of the finished run in", near_path(str(folder))
        )


def after(show: Callable[Told, None], keep: Callable[[], None]) -> Callable[Told, None]:
    """What shows each step once it is kept: of a step that was seen, Ctrl-C loses nothing."""

    def shown(*args: Told.args, **kwargs: Told.kwargs) -> None:
        keep()
        show(*args, **kwargs)

    return shown


class RunDisplay:
    """Shows a run as it goes; `step` is what `rlpeft.program.run.run` calls after each step.

    Args:
        total_steps: `train.steps`.
        unit: what one step is called.
        whose: the name of the run, where the steps of several are shown.
        done: steps that the run took before.
        in_groups: `loss.compares_groups`.
        below: as often as a log gets a line.
        console: standard error if absent, so that `--json` output stays clean.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        unit: str = "step",
        whose: str = "",
        done: int = 0,
        in_groups: bool = True,
        below: Below | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total_steps, self.unit = total_steps, unit
        self._whose = f"{whose}: " if whose else ""
        self._called = f"{self._whose}{unit}"
        self.console, self._below = console or Screen(stderr=True), below
        self._done, self._clock, self._rate = done, clock, Rate(clock)
        self._best: Validation | None = None
        self._printed_at, self._stepped_at = float("-inf"), clock()
        self._bar: ProgressBar | None = None
        self._task = TaskID(0)
        self.has_stepped = False
        self._in_groups, self._taught = in_groups, list[float]()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            bar = [BarColumn(bar_width=BAR_WIDTH)] if self.console.width >= WIDE else []
            self._bar = ProgressBar(
                TextColumn(self._called),
                MofNCompleteColumn(),
                *bar,
                TextColumn("{task.fields[figures]}", markup=False),
                console=self.console,
            )
            self._task = self._bar.add_task(
                "", total=self.total_steps, completed=self._done, figures=""
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.live.transient = not self.has_stepped  # nothing ran: nothing is left to see
            self._bar.stop()

    def step(self, progress: Counted, metrics: Mapping[str, float]) -> None:
        """Show one finished step."""
        shown = figures(metrics, self._best, in_groups=self._in_groups)
        self._best = max(
            (v for v in (self._best, validation(metrics)) if v is not None), default=None
        )
        self._done, self._stepped_at = progress.step, self._clock()
        paced = pace(self._rate.at(progress.step), self.total_steps - progress.step, self.unit)
        self.has_stepped = True
        place = f"{self._called} {progress.step}/{self.total_steps}"
        # As wide as the last step's, to which the terminal's column is padded.
        widest = f"{self._called} {self.total_steps}/{self.total_steps}"
        room = self.console.width - len(widest) - len(GAP)
        is_due = self._is_due(progress.step, metrics)
        if self._bar is not None:
            room -= BAR_WIDTH + 1 if self.console.width >= WIDE else 0
            line = fitted(shown, paced, room)
            self._bar.update(self._task, completed=progress.step, figures=line)
        elif is_due:
            self.say(GAP.join(part for part in (place, fitted(shown, paced, room)) if part))
        if is_due and self._below is not None:
            self._say_below(place, self._below(progress.step))
        self._look_for_signal(progress.step, metrics)

    def _look_for_signal(self, step: int, metrics: Mapping[str, float]) -> None:
        """Say once, of the first steps, that nothing can be learned from them."""
        share = teaching(metrics, in_groups=self._in_groups)
        if share is None or len(self._taught) == FIRST_STEPS:
            return
        self._taught.append(share)
        is_last = step == self.total_steps
        if not any(self._taught) and (is_last or len(self._taught) == FIRST_STEPS):
            self.say(f"{self._whose}{nothing_to_learn(metrics, len(self._taught))}")

    def groups(self, done: int, total: int) -> None:
        """Show how far the rollout of the next step is, unless the step is done in no time."""
        now = self._clock()
        taken_s = now - self._stepped_at
        line = f"{done}/{total} groups"
        if taken_s > 0:
            line += f"  {pace(done / taken_s, total - done, 'group')}"
        if self._bar is not None:
            if taken_s > PLAIN_INTERVAL_S:
                self._bar.update(self._task, figures=line)
        elif now - max(self._printed_at, self._stepped_at) >= WITHIN_A_STEP_S:
            self._printed_at = now
            self.say(GAP.join((f"{self._called} {self._done + 1}/{self.total_steps}", line)))

    def _say_below(self, place: str, found: RenderableType | None) -> None:
        if found is None:
            return
        if self._bar is not None:  # whose line stays at the bottom
            self.say(place)
        self.console.print(found, highlight=False)

    def say(self, line: str, whole: str = "") -> None:
        """Print one line, which was fitted to the console.

        Args:
            whole: a path or command to end it with, on a line of its own where there is no room.
        """
        self.console.print(
            ended_with(line, whole, width=self.console.width),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def _is_due(self, step: int, metrics: Mapping[str, float]) -> bool:
        """A second has passed, or the line says what no later one will."""
        now = self._clock()
        last = step == self.total_steps
        if not last and validation(metrics) is None and now - self._printed_at < PLAIN_INTERVAL_S:
            return False
        self._printed_at = now
        return True
