"""Trackers beside the run's own records: TensorBoard, Weights & Biases, Trackio.

Each is imported when a recipe asks for it, and not before.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from rlpeft.errors import ConfigError
from rlpeft.files import read_text, write_text

PROJECT = "rlpeft"
"""Project under which hosted trackers file a run."""


class Tracker(Protocol):
    """Where metrics go beside `metrics.jsonl`."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step."""
        ...

    def rewind(self, step: int) -> None:
        """Steps after this one are logged again; drop them where the tracker can."""
        ...

    def close(self) -> None:
        """Write out what is left."""
        ...


class TensorBoard:
    """Event files under `<run>/tensorboard`."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        self._import = _require("torch.utils.tensorboard", "tensorboard")
        self._folder = folder / "tensorboard"
        self._writer = self._import.SummaryWriter(str(self._folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar for each number."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def rewind(self, step: int) -> None:
        """Reopen with `purge_step`, which hides later events of older files."""
        self._writer.close()
        self._writer = self._import.SummaryWriter(str(self._folder), purge_step=step + 1)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class Wandb:
    """A Weights & Biases run; `WANDB_MODE=offline` keeps it on this machine.

    History cannot be deleted there: a repeated step appears twice under its own `step`.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        wandb = _require("wandb", "wandb")
        try:
            self._run = wandb.init(
                project=PROJECT,
                name=recipe["name"],
                id=_run_id(folder),
                resume="allow",
                dir=str(folder),
                config=dict(recipe),
            )
        except wandb.errors.UsageError as error:
            cause = str(error).rstrip(".")
            raise ConfigError(
                f"train.report_to = 'wandb' must be able to log in, got: {cause}. Run `wandb "
                "login`, or set WANDB_MODE=offline."
            ) from error
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One history row, with the step as a metric of its own."""
        self._run.log({"step": step, **values})

    def rewind(self, step: int) -> None:
        """Nothing: see the class."""

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class Trackio:
    """A Trackio run, in its local store; a repeated step appears twice.

    Trackio talks on standard output, which belongs to what a command prints.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        self._trackio = _require("trackio", "trackio")
        with redirect_stdout(sys.stderr):
            self._run = self._trackio.init(
                project=PROJECT,
                name=f"{recipe['name']}-{_run_id(folder)}",
                resume="allow",
                config=dict(recipe),
                embed=False,
            )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row of this step."""
        self._run.log(dict(values), step=step)

    def rewind(self, step: int) -> None:
        """Nothing: see the class."""

    def close(self) -> None:
        """Finish the run."""
        with redirect_stdout(sys.stderr):
            self._trackio.finish()


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
}
"""By their names in `train.report_to`; each is given the run's folder, and its recipe as JSON."""


def _require(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"train.report_to = {package!r} needs the package {package}, which cannot be "
            f"imported ({error}). Run: pip install {package}"
        ) from error


def _run_id(folder: Path) -> str:
    """A run's name at hosted trackers: made once, so that a continued run continues there."""
    path = folder / "tracker_id"
    if not path.exists():
        write_text(path, uuid.uuid4().hex[:8])
    return read_text(path)
