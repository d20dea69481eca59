"""Trackers beside the run's own records: TensorBoard, Weights & Biases, Trackio, MLflow.

Each is imported when a recipe asks for it, and not before. None is needed: what a run is lies in
its folder, and a tracker that fails is told of and goes without (`rlpeft.runs.reporting`).
"""

from __future__ import annotations

import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from rlpeft.errors import ConfigError
from rlpeft.files import read_text, write_text

PROJECT = "rlpeft"
"""Project under which hosted trackers file a run."""


Rows = Sequence[Mapping[str, Any]]
"""Some completions of a step, with the same columns in each."""

Pictures = Mapping[str, Any]
"""By title, of `PIL.Image`."""


class Tracker(Protocol):
    """Where metrics go beside `metrics.jsonl`.

    Attributes:
        takes_pictures: whether it shows more by them than it draws of metrics itself.
    """

    takes_pictures: bool

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step."""
        ...

    def completions(self, step: int, rows: Rows) -> None:
        """Some completions of one step."""
        ...

    def pictures(self, step: int, pictures: Pictures) -> None:
        """The charts of the report, once the run is done."""
        ...

    def rewind(self, step: int) -> None:
        """Steps after this one are logged again; drop them where the tracker can."""
        ...

    def close(self) -> None:
        """Write out what is left."""
        ...


class TensorBoard:
    """Event files under `<run>/tensorboard`."""

    takes_pictures = False

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        self._import = _require("torch.utils.tensorboard", "tensorboard")
        self._folder = folder / "tensorboard"
        self._writer: Any = None
        self._purge_step: int | None = None

    def _open(self) -> Any:
        """The writer of a file whose name sorts behind those of the files that are there.

        TensorBoard reads files in the order of their names, of which all have a second, and those
        of one second and process a number that sorts as text: 10 before 9.
        """
        if self._writer is None:
            seconds = [
                int(p.name.split(".")[3]) for p in self._folder.glob("events.out.tfevents.*")
            ]
            while seconds and time.time() < max(seconds) + 1:
                time.sleep(0.05)
            self._writer = self._import.SummaryWriter(
                str(self._folder), purge_step=self._purge_step
            )
        return self._writer

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar for each number."""
        writer = self._open()
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def completions(self, step: int, rows: Rows) -> None:
        """Text, indented: as Markdown has what is to be shown letter by letter."""
        self._open().add_text("completions", "\n\n---\n\n".join(map(_indented, rows)), step)

    def pictures(self, step: int, pictures: Pictures) -> None:
        """Nothing: see `takes_pictures`."""

    def rewind(self, step: int) -> None:
        """Reopen with `purge_step`, which hides later events of older files."""
        self.close()
        self._purge_step = step + 1

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class Wandb:
    """A Weights & Biases run; `WANDB_MODE=offline` keeps it on this machine.

    History cannot be deleted there: a repeated step appears twice under its own `step`.
    """

    takes_pictures = True

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        self._wandb = wandb = _require("wandb", "wandb")
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

    def completions(self, step: int, rows: Rows) -> None:
        """A table."""
        self._run.log({"step": step, "completions": self._wandb.Table(*_table(rows))})

    def pictures(self, step: int, pictures: Pictures) -> None:
        """Images, by title."""
        images = {f"report/{title}": self._wandb.Image(each) for title, each in pictures.items()}
        self._run.log({"step": step, **images})

    def rewind(self, step: int) -> None:
        """Nothing: see the class."""

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class Trackio:
    """A Trackio run, in its local store; a repeated step appears twice.

    Trackio talks on standard output, which belongs to what a command prints.
    """

    takes_pictures = True

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

    def completions(self, step: int, rows: Rows) -> None:
        """A table."""
        self._run.log({"completions": self._trackio.Table(*_table(rows))}, step=step)

    def pictures(self, step: int, pictures: Pictures) -> None:
        """Images, by title."""
        images = {f"report/{title}": self._trackio.Image(p) for title, p in pictures.items()}
        self._run.log(images, step=step)

    def rewind(self, step: int) -> None:
        """Nothing: see the class."""

    def close(self) -> None:
        """Finish the run."""
        with redirect_stdout(sys.stderr):
            self._trackio.finish()


class MLflow:
    """An MLflow run at `MLFLOW_TRACKING_URI`, which a continued run goes on with.

    What was logged cannot be deleted there: a repeated step appears twice.
    """

    takes_pictures = True

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        # Its own defaults hold a run up for minutes where the server is down.
        for name, value in MLFLOW_PATIENCE.items():
            os.environ.setdefault(name, value)
        mlflow = _require("mlflow", "mlflow")
        self._metric = _require("mlflow.entities", "mlflow").Metric
        try:
            self._client = mlflow.MlflowClient()
        except mlflow.exceptions.MlflowException as error:
            raise ConfigError(
                "train.report_to = 'mlflow' must have a store that it can write to, got: "
                f"{' '.join(str(error).split()):.300}. Set MLFLOW_TRACKING_URI to your server, or "
                "run: pip install mlflow"
            ) from error
        self._id = self._run_of(_run_id(folder), recipe)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One metric for each number, under a name that MLflow takes."""
        now = round(1000 * time.time())
        each = [self._metric(_mlflow_name(n), v, now, step) for n, v in values.items()]
        for at in range(0, len(each), MLFLOW_BATCH):
            self._client.log_batch(self._id, metrics=each[at : at + MLFLOW_BATCH])

    def completions(self, step: int, rows: Rows) -> None:
        """A table among the run's artifacts."""
        columns, data = _table(rows)
        table = {name: [row[at] for row in data] for at, name in enumerate(columns)}
        self._client.log_table(self._id, table, f"completions/step_{step:08d}.json")

    def pictures(self, step: int, pictures: Pictures) -> None:
        """PNG files among the run's artifacts."""
        for title, each in pictures.items():
            self._client.log_image(self._id, each, f"report/{_mlflow_name(title)}.png")

    def rewind(self, step: int) -> None:
        """Nothing: see the class."""

    def close(self) -> None:
        """Say there that the run has ended."""
        self._client.set_terminated(self._id)

    def _run_of(self, ours: str, recipe: Mapping[str, Any]) -> str:
        """The run that bears our id, begun or gone on with."""
        client = self._client
        experiment = client.get_experiment_by_name(PROJECT)
        of = experiment.experiment_id if experiment else client.create_experiment(PROJECT)
        if found := client.search_runs([of], f"tags.`rlpeft.id` = '{ours}'", max_results=1):
            client.set_terminated(found[0].info.run_id, "RUNNING")
            return str(found[0].info.run_id)
        run = client.create_run(of, run_name=recipe["name"], tags={"rlpeft.id": ours})
        client.log_dict(run.info.run_id, dict(recipe), "recipe.json")
        return str(run.info.run_id)


MLFLOW_BATCH = 1000
"""Metrics that MLflow takes at once."""

MLFLOW_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""Unless the environment says otherwise."""


def _mlflow_name(name: str) -> str:
    return re.sub(r"[^\w./ -]", "_", name)


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
    "mlflow": MLflow,
}
"""By their names in `train.report_to`, which are those of their packages; each is given the run's
folder, and its recipe as JSON."""


def require_trackers(names: Sequence[str]) -> None:
    """Refuse what is not installed, before any long work.

    Raises:
        ConfigError: it names the command that installs it.
    """
    for name in names:
        if find_spec(name) is None:
            raise _missing(name, "it is not installed")


def _require(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise _missing(package, f"it cannot be imported ({error})") from error


def _missing(package: str, why: str) -> ConfigError:
    return ConfigError(
        f"train.report_to = {package!r} needs the package {package}: {why}. Run: pip install "
        f"{package}, or pip install 'rlpeft[track]' for all trackers"
    )


def _table(rows: Rows) -> tuple[list[str], list[list[Any]]]:
    """Columns, and a list a row."""
    columns = [*rows[0]]
    return columns, [[row[name] for name in columns] for row in rows]


def _indented(row: Mapping[str, Any]) -> str:
    return "\n".join(_lines(row))


def _lines(row: Mapping[str, Any]) -> Iterator[str]:
    for name, value in row.items():
        yield f"    {name}:"
        yield from (f"        {line}" for line in str(value).splitlines())


def _run_id(folder: Path) -> str:
    """A run's name at hosted trackers: made once, so that a continued run continues there."""
    path = folder / "tracker_id"
    if not path.exists():
        write_text(path, uuid.uuid4().hex[:8])
    return read_text(path)
