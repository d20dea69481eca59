"""Trackers are imported only when asked for, and say how to get them."""

import json
import os
import sqlite3
import subprocess
import sys

import pytest

from rlpeft.errors import ConfigError
from rlpeft.runs.records import RunRecorder
from rlpeft.runs.trackers import TensorBoard

ROW = {"prompt": "2+2=", "completion": "4", "reward": 1.0}
RECIPE = {"name": "sums", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}


def scalars(folder, name):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_gets_every_number(tmp_path):
    recorder = RunRecorder(tmp_path, RECIPE, report_to=["tensorboard"])
    recorder.metrics(1, {"reward": 0.5})
    recorder.metrics(2, {"reward": 0.75})
    recorder.close()
    assert scalars(tmp_path, "reward") == [(1, 0.5), (2, 0.75)]


def test_tensorboard_forgets_steps_that_are_run_again(tmp_path):
    recorder = RunRecorder(tmp_path, RECIPE, report_to=["tensorboard"])
    for step in (0, 1, 2, 3):
        recorder.metrics(step, {"reward": float(step)})
    recorder.rewind(1)
    recorder.metrics(2, {"reward": 20.0})
    recorder.close()
    assert scalars(tmp_path, "reward") == [(0, 0.0), (1, 1.0), (2, 20.0)]


def test_a_tracker_that_is_not_installed_is_named_with_its_pip_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        RunRecorder(tmp_path, RECIPE, report_to=["wandb"])


def test_no_tracker_is_imported_unless_asked_for():
    code = (
        "import sys, rlpeft.runs.records; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'tensorboard', 'wandb', 'trackio')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_tensorboard_shows_completions_letter_by_letter(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracker = TensorBoard(tmp_path, RECIPE)
    tracker.completions(3, [ROW, {**ROW, "completion": "<b>one</b>\n# two"}])
    tracker.close()
    events = accumulators.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (found,) = events.Tensors("completions/text_summary")
    (text,) = found.tensor_proto.string_val
    assert found.step == 3
    assert b"        <b>one</b>\n        # two\n" in text
    assert text.count(b"    prompt:\n        2+2=") == 2


TWICE = """
import sys
from pathlib import Path
from PIL import Image
from rlpeft.runs.records import RunRecorder
name, folder = sys.argv[1:]
recipe = {"name": "sums", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}
for step in (1, 2):
    recorder = RunRecorder(Path(folder), recipe, report_to=[name])
    recorder.rewind(step - 1)
    row = {"prompt": "2+2=", "completion": "4", "reward": 1.0}
    recorder.reporting.completions([row])
    recorder.metrics(step, {"reward": step / 4, "eval_accuracy": 0.5})
    recorder.reporting.pictures(step, {"Reward": Image.new("RGB", (4, 4))})
    recorder.close()
"""


def run_twice(name, folder, **environment):
    """A run of one step and its continuation, in a process of its own; what it printed."""
    pytest.importorskip(name)
    command = [sys.executable, "-c", TWICE, name, str(folder)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.slow
def test_trackio_goes_on_with_the_run_it_began_and_leaves_standard_output_alone(tmp_path):
    assert run_twice("trackio", tmp_path / "run", TRACKIO_DIR=str(tmp_path / "store")) == ""
    with sqlite3.connect(tmp_path / "store" / "rlpeft.db") as store:
        rows = store.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    logged = [(step, json.loads(metrics)) for _, step, metrics in rows]
    assert [(step, found["reward"]) for step, found in logged if "reward" in found] == [
        (1, 0.25),
        (2, 0.5),
    ]
    tables = [found["completions"] for _, found in logged if "completions" in found]
    assert [table["_type"] for table in tables] == ["trackio.table"] * 2
    assert sum("report/Reward" in found for _, found in logged) == 2
    assert len({name for name, _, _ in rows}) == 1


@pytest.mark.slow
def test_wandb_goes_on_with_the_run_it_began_without_a_network(tmp_path):
    assert run_twice("wandb", tmp_path / "run", WANDB_MODE="offline", WANDB_SILENT="true") == ""
    ids = {path.name.split("-")[-1] for path in (tmp_path / "run" / "wandb").glob("offline-run-*")}
    assert len({name[:8] for name in ids if len(name) >= 8}) == 1


@pytest.mark.slow
def test_mlflow_goes_on_with_the_run_it_began(tmp_path):
    store = {
        "MLFLOW_TRACKING_URI": (tmp_path / "store").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }
    assert run_twice("mlflow", tmp_path / "run", **store) == ""
    (metrics,) = (tmp_path / "store").glob("*/*/metrics/reward")
    logged = [line.split()[1:] for line in metrics.read_text().splitlines()]
    assert logged == [["0.25", "1"], ["0.5", "2"]]
    artifacts = metrics.parents[1] / "artifacts"
    assert json.loads((artifacts / "recipe.json").read_text()) == RECIPE
    assert json.loads((artifacts / "completions/step_00000002.json").read_text())["data"]
    assert (artifacts / "report/Reward.png").stat().st_size


@pytest.mark.slow
def test_a_server_of_mlflow_that_is_down_ends_no_run(tmp_path):
    """Port 9 is nobody's."""
    run_twice("mlflow", tmp_path / "run", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 2
