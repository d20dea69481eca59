"""What a person sees in the terminal: a run's progress, and the table it ends with.

Everything that decides what is shown is a pure function of records; `RunDisplay` only draws. On
a terminal one line is kept up to date; elsewhere (a log, a pipe) each step is a plain line, at
most one a second beside those of validations.
"""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from rlpeft.runs.checkpoint import list_checkpoints
from rlpeft.terminal import ended_with, labelled, near_path, paragraph, terminal_width
from rlpeft.typed import this_command, typeable

RATE_WINDOW = 20
"""Steps over which the rate is taken."""

EQUALS_START = "It is the expert that it started from: no step did better in validation."
EQUALS_BASE = (
    "The expert kept is the base model: no step did better in validation than step 0. Train "
    "longer, with another learner.lr, or with a reward that tells its answers apart."
)
"""Said where a run has found nothing."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

PLAIN_INTERVAL_S = 1.0
"""Least time between two plain lines."""


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


def figures(metrics: Mapping[str, float], best: Validation | None) -> str:
    """The figures of one step that are worth a glance; `best` is the best validation so far."""
    shown = []
    if "reward" in metrics:
        shown.append(f"reward {metrics['reward']:.3f}")
    elif "mean_token_accuracy" in metrics:  # supervised: its loss, unlike RL's, tells something
        shown.append(f"loss {metrics['loss']:.3f}")
    if "best" in metrics:
        form = ".3f" if metrics.get("graded") else ".1%"
        best_shot, mean = (format(metrics[name], form) for name in ("best", "mean"))
        shown.append(f"best {best_shot}  mean {mean}  spread {metrics['spread']:.3f}")
    if "kl" in metrics:
        shown.append(f"kl {metrics['kl']:.2g}")
    if (found := validation(metrics)) is not None:
        shown.append(f"validation {found}")
    elif best is not None:
        shown.append(f"best validation {best}")
    unscorable = metrics.get("verdicts/unscorable", 0) + metrics.get("eval_unscorable", 0)
    if unscorable:
        shown.append(f"{unscorable:.0f} unscorable")
    failed = metrics.get("verdicts/error", 0) + metrics.get("verdicts/timeout", 0)
    if failed:
        shown.append(f"{failed:.0f} failed to be scored")
    return "  ".join(shown)


class Validation(NamedTuple):
    """A validation's figure: the share of correct answers, or a mean score where none is judged."""

    value: float
    is_accuracy: bool

    def __str__(self) -> str:
        return f"{self.value:.1%}" if self.is_accuracy else f"score {self.value:.3f}"


def validation(metrics: Mapping[str, float]) -> Validation | None:
    """What a step's validation found, if it had one."""
    for name, is_accuracy in (("eval_accuracy", True), ("eval_score", False)):
        if name in metrics:
            return Validation(metrics[name], is_accuracy)
    return None


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

LEFT_OUT = ("kl ", "spread ", "mean ")
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
def run_shown(folder: Path, total_steps: int, *, unit: str = "step") -> Iterator[RunDisplay]:
    """Show a run as it goes: where it goes on from, its steps, and how to go on after Ctrl-C.

    Args:
        folder: the run's.
    """
    folders = list_checkpoints(folder)
    done = int(folders[-1].name.rpartition("_")[2]) if folders else 0
    display = RunDisplay(total_steps, unit=unit, done=done)
    if 0 < done < total_steps:
        display.say(f"continuing from {unit} {done} of", near_path(str(folder)))
    try:
        with display:
            yield display
    except KeyboardInterrupt:
        display.say(f"stopped; to go on from the last {unit}:", this_command())
        raise SystemExit(INTERRUPTED) from None
    if not display.has_stepped:
        display.say(
            "nothing ran: these are the figures of the finished run in", near_path(str(folder))
        )


class RunDisplay:
    """Shows a run as it goes; `step` is what `jobs.train.run` calls after each step.

    Args:
        total_steps: `train.steps`.
        unit: what one step is called.
        done: steps that the run took before.
        console: standard error if absent, so that `--json` output stays clean.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        unit: str = "step",
        done: int = 0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total_steps, self.unit = total_steps, unit
        self.console = console or Console(stderr=True)
        self._done, self._clock, self._rate = done, clock, Rate(clock)
        self._best: Validation | None = None
        self._printed_at = float("-inf")
        self._bar: ProgressBar | None = None
        self._task = TaskID(0)
        self.has_stepped = False

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            bar = [BarColumn(bar_width=BAR_WIDTH)] if self.console.width >= WIDE else []
            self._bar = ProgressBar(
                TextColumn(self.unit),
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
        shown = figures(metrics, self._best)
        self._best = max(
            (v for v in (self._best, validation(metrics)) if v is not None), default=None
        )
        paced = pace(self._rate.at(progress.step), self.total_steps - progress.step, self.unit)
        self.has_stepped = True
        place = f"{self.unit} {progress.step}/{self.total_steps}"
        # As wide as the last step's, to which the terminal's column is padded.
        widest = f"{self.unit} {self.total_steps}/{self.total_steps}"
        room = self.console.width - len(widest) - len(GAP)
        if self._bar is not None:
            room -= BAR_WIDTH + 1 if self.console.width >= WIDE else 0
            line = fitted(shown, paced, room)
            self._bar.update(self._task, completed=progress.step, figures=line)
        elif self._is_due(progress.step, metrics):
            self.say(GAP.join(part for part in (place, fitted(shown, paced, room)) if part))

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


def print_closing(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print `closing`; paths and commands are never broken, so that they can be copied."""
    width = terminal_width() if console is None else console.width
    (console or Console()).print(closing(summary, width=width), soft_wrap=True)


def closing(summary: Mapping[str, Any], *, width: int) -> RenderableType:
    """What a finished run ends with.

    Args:
        summary: what `summary.json` of the run folder holds.
        width: columns that sentences and lists are broken to.
    """
    kinds = {"base": "base_test", "start": "start_test", "expert": "test"}
    measured = {name: summary[key] for name, key in kinds.items() if key in summary}
    return Group(
        Text(),
        accuracy_table(measured, title=f"{summary['name']}: test {{}}"),
        Text(paragraph(_sentence(summary), width=width)),
        Text(),
        _facts(summary, width),
    )


def accuracy_table(accuracies: Mapping[str, Mapping[str, Any]], *, title: str) -> Table:
    """Accuracies, or mean scores, with their 95 % intervals, a row each.

    Args:
        title: `{}` in it stands for what was measured.
    """
    judged = all("correct" in found for found in accuracies.values())
    measured, form = ("accuracy", ".1%") if judged else ("mean score", ".3f")
    title = title.replace("{}", measured)
    table = Table(title=Text(title, style="bold"), title_justify="left", box=SIMPLE_HEAD)
    for heading in ("", measured, "95 % interval", "correct" if judged else "scored"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, found in accuracies.items():
        value, low, high = (format(found[key], form) for key in ("value", "low", "high"))
        count = f"{found['correct']} of {found['total']}" if judged else f"{found['total']}"
        table.add_row(Text(name), value, f"{low} to {high}", count)
    return table


def compared(
    against: Mapping[str, Any] | None, called: str = "its base", ours: str = "expert"
) -> str:
    """What a difference that was paired by problem says, in one sentence.

    Args:
        against: a `PairedDifference`; absent in summaries from before it was kept, or where no
            problem has scored answers of both.
        called: what the expert is compared with.
    """
    from rlpeft.experts.measures import PairedDifference

    if against is None:
        return f"Its difference from {called} is not known here; rlpeft evaluate measures it."
    return PairedDifference(**against).said(called, ours)


def _sentence(summary: Mapping[str, Any]) -> str:
    if summary.get("equals_base"):
        return EQUALS_BASE
    found = compared(summary.get("against_base"))
    if "start_test" not in summary:
        return found
    if summary["equals_start"]:
        return f"{found} {EQUALS_START}"
    return f"{found} {compared(summary.get('against_start'), 'its start')}"


def _facts(summary: Mapping[str, Any], width: int) -> Group:
    form = summary.get("export_format", "merged")  # runs of before had no other
    expert, report = near_path(summary["expert"]), summary.get("report")
    export = f"rlpeft export {shlex.quote(expert)} --format {form} --out {summary['name']}-{form}"
    rows = {
        "adapted modules": _counts(summary.get("modules")),
        "left out": _counts(summary.get("left_out")),
        "trainable parameters": f"{summary['trainable_parameters']:,}",
        "weight sync": _sync_text(summary["sync_bytes"], summary["sync_ms"]),
        "best step": str(summary["best_step"]),
        "expert": expert,
        "report": None if report is None else near_path(report),
        "next": typeable(export),
    }
    return Group(*(_fact(name, value, width) for name, value in rows.items() if value is not None))


def _fact(name: str, value: str, width: int) -> Text:
    whole = name in ("expert", "report", "next")
    text = Text(labelled(name, value, column=22, width=width, whole=whole))
    text.stylize("dim", 0, len(name))
    return text


def _counts(kinds: Mapping[str, int] | None) -> str | None:
    return ", ".join(f"{kind} {count}" for kind, count in kinds.items()) if kinds else None


def _sync_text(num_bytes: int, milliseconds: float | None) -> str:
    time = "" if milliseconds is None else f" in {milliseconds:.1f} ms"
    return f"{num_bytes:,} bytes{time}"
