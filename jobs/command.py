"""The command that trains, as `rlpeft train` and as `python -m jobs.train` know it."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from jobs.attend import MISTAKE, TRY_AGAIN, go_on_attended
from jobs.note import keep
from jobs.recipes import read_recipe
from jobs.travel import run_folder
from rewards.errors import RewardError
from rlpeft.errors import ClusterError, ConfigError, RlpeftError
from rlpeft.files import check_place, describe
from rlpeft.models import resolve_model
from rlpeft.typed import typeable

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change the recipe; may be repeated."),
]


def folder_to_write(path: Path | None) -> Path | None:
    """Refuse an `--out` in which no folder can be written, before any work; a Typer callback."""
    if path is not None:
        check_place(path.expanduser(), folder=True)
    return path


def file_to_write(path: Path | None) -> Path | None:
    """Refuse an `--out` to which no file can be written, before any work; a Typer callback."""
    if path is not None:
        check_place(path.expanduser(), folder=False)
    return path


def refuse_own_input(file: Path | None, out: Path | None) -> None:
    """Refuse to write answers over what they answer.

    Raises:
        ConfigError: both are one file.
    """
    if file is None or out is None or not (file.exists() and out.exists()):
        return
    if file.samefile(out):
        raise ConfigError(f"--out must not be the file that is read, got {str(out)!r} for both.")


def train(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a packaged recipe.")],
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=folder_to_write,
            help="Run folder; an unfinished run in it continues. Default: runs/NAME.",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster: http://HOST:8265 or HOST:6379. Default: one here."),
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="One process, without Ray.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Train an expert by reinforcement learning, then test it against its base model."""
    found = read_recipe(recipe, overrides or ())
    if local and address is not None:
        raise ConfigError(f"--local runs without Ray, it takes no --address, got {address!r}.")
    folder = run_folder(out, found.name)
    resolve_model(found.model.name)  # before libraries are loaded, which takes a busy machine long
    if not local:
        go_on_attended()
    from jobs.train import run
    from rlpeft.console import print_closing, run_shown
    from rlpeft.report import write_report

    quiet_libraries()
    end_in_one_line()
    with run_shown(folder, found.train.steps) as display:
        summary = run(found, folder, address=address, ray=not local, on_step=display.step)
    summary["report"] = str(write_report(folder))
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        print_closing(summary)


ENDING = threading.Event()
"""Set once this process was told to end: what goes with it is no error any more."""


def end_in_one_line() -> None:
    """Have SIGTERM, which clusters and shells end jobs with, end this process in order."""

    def stop(number: int, frame: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ENDING.set()
        keep(None, last=True)  # this is told
        typer.echo(
            "error: stopped by SIGTERM. The same command continues from the newest checkpoint.",
            err=True,
        )
        raise SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)


def quiet_libraries() -> None:
    """Keep the libraries' own progress bars out of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def main() -> None:
    """Run `train` from the command line; an error is one line and an exit code."""
    try:
        typer.run(train)
    except Exception as error:
        line = in_one_line(error)
        if line is None:
            raise
        typer.echo(line, err=True)
        sys.exit(exit_code(error))


def in_one_line(error: Exception) -> str | None:
    """What to tell of a user's mistake, or of the machine's state; `None` for a defect of ours."""
    if isinstance(error, RlpeftError | RewardError):
        return typeable(f"error: {' '.join(str(error).split())}")
    line = describe(error) if isinstance(error, OSError) else None
    return None if line is None else f"error: {line}"


def exit_code(error: Exception) -> int:
    """Whether the same command may succeed when it is run again."""
    return TRY_AGAIN if isinstance(error, ClusterError) else MISTAKE
