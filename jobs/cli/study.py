"""`rlpeft study`: a claim, measured by many runs of one recipe."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.options import AsJson, folder_to_write
from rlpeft.errors import ConfigError
from rlpeft.files import read_json
from rlpeft.terminal import near_path, printable, say, score_shown
from rlpeft.typed import typeable

if TYPE_CHECKING:
    from jobs.studies.cells import StudyCell
    from jobs.studies.results import Result

app = typer.Typer(help="Measure a claim by many runs of one recipe.", no_args_is_help=True)

Study = Annotated[
    str, typer.Argument(metavar="STUDY", help="A TOML or YAML file, or a packaged study's name.")
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study that has run.")]


@app.callback()
def study_command() -> None:
    """Measure a claim by many runs of one recipe."""


@app.command()
def run(
    study: Study,
    out: Annotated[
        Path | None,
        typer.Option(callback=folder_to_write, help="Its folder. Default: runs/studies/NAME."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Run as tasks of a Ray cluster: http://HOST:8265, HOST:6379 or local."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a study: tune each arm, train it with every seed, write tables, pictures, figures.

    Started again on its folder it goes on: a finished run is not repeated. Without --address runs
    follow one another in this process.
    """
    from jobs.recipes import read_study
    from rlpeft.terminal import quiet_libraries

    found = read_study(study)
    folder = (out or Path("runs") / "studies" / found.name).expanduser().absolute()
    quiet_libraries()
    from jobs.studies.figures import tables
    from jobs.studies.spread import run_on_ray
    from jobs.studies.study import run_here, run_study
    from jobs.studies.written import PAGE_FILE, write_study

    say(f"study {found.name}: {found.claim} What it has goes into {near_path(str(folder))}")
    run_cells = run_here if address is None else run_on_ray(address)
    done = run_study(found, folder, run_cells=run_cells, on_cell=_Told())
    written = write_study(done, folder)
    if as_json:
        typer.echo(json.dumps(written))
        return
    typer.echo(printable(f"\n{tables(written)}\n"))
    say("report", near_path(str(folder / PAGE_FILE)))


@app.command()
def plan(study: Study) -> None:
    """Say what a study would run, every recipe of it checked; nothing is loaded or begun."""
    from jobs.recipes import read_study
    from jobs.studies.cells import Cells, arms_of, settings_of

    found = read_study(study)
    Cells(found)
    say(f"study {found.name}: {found.claim}")
    runs, seeds = 0, len(found.seeds)
    for arm in arms_of(found):
        settings = len(settings_of(found, arm))
        tuned = f"{settings} settings with seed {found.seeds[0]}, the best " * (settings > 1)
        runs += seeds + settings - 1
        say(f"{arm.name}: {tuned}with {seeds} seed{'s' * (seeds > 1)} in all")
    say(f"{runs} runs of {found.recipe}")


class _Told:
    """A line for each run as it ends, with the time left at the rate of those that were run."""

    def __init__(self) -> None:
        self._since, self._ran = time.monotonic(), 0
        self._last = self._since

    def __call__(self, number: int, total: int, cell: StudyCell, result: Result) -> None:
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        # One that was there already was only read, and tells nothing of how long others take.
        self._ran += seconds > READ_S
        left = (now - self._since) / self._ran * (total - number) if self._ran else None
        setting = "".join(f" {key}={value}" for key, value in cell.setting.items())
        brought = f"failed: {result.error}" if result.error else _validation(result)
        after = f", {_span(left)} left" if left else ""
        line = f"{number}/{total} {cell.arm.name}{setting} seed {cell.seed}: {brought}"
        say(f"{line} ({_span(seconds)}{after})")


READ_S = 1.0
"""No run is as short."""


def _validation(result: Result) -> str:
    if result.validation is None:
        return "done"
    shown = f"{result.validation:.1%}" if result.judged else score_shown(result.validation)
    return f"validation {shown}"


def _span(seconds: float) -> str:
    """Seconds for a person.

    >>> _span(4.2), _span(240), _span(9000)
    ('4 s', '4 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@app.command("list")
def list_studies() -> None:
    """List the packaged studies: what each measures, and where it is claimed."""
    from jobs.recipes import STUDIES, read_study, recipe_names

    for name in recipe_names(STUDIES):
        found = read_study(name)
        source = f" ({found.source})" if found.source else ""
        say(f"{name}: {found.claim}{source}")
    say("run one by", typeable("rlpeft study run NAME"))


@app.command()
def show(folder: Folder, as_json: AsJson = False) -> None:
    """Show the tables of a study that has run."""
    from jobs.studies.figures import tables
    from jobs.studies.written import STUDY_FILE

    found = _read(folder)
    if as_json:
        typer.echo(json.dumps(found))
        return
    try:
        claim, told = str(found["study"]["claim"]), tables(found)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{str(folder / STUDY_FILE)!r} must hold what `rlpeft study run` writes, it does not "
            f"({type(error).__name__}: {error!s:.60}). {MEND}"
        ) from error
    say(claim)
    typer.echo(printable(f"\n{told}"))


MEND = "Run the study again: no finished run is repeated."
"""A damaged file of what was measured."""


def _read(folder: Path) -> dict[str, Any]:
    from jobs.studies.written import STUDY_FILE

    path = folder.expanduser() / STUDY_FILE
    if not path.is_file():
        raise ConfigError(
            f"a folder of a study must have {STUDY_FILE}, {str(folder)!r} has none. Run the study "
            "first, to its end: rlpeft study run STUDY"
        )
    return read_json(path, mend=MEND)
