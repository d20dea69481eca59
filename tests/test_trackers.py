"""Trackers are imported only when asked for, and say how to get them."""

import subprocess
import sys

import pytest

from rlpeft.config import Recipe
from rlpeft.errors import ConfigError
from rlpeft.metrics import RunRecorder


def recipe(*report_to):
    return Recipe.model_validate({"name": "sums", "train": {"report_to": report_to}})


def scalars(folder, name):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_gets_every_number(tmp_path):
    recorder = RunRecorder(tmp_path, recipe("tensorboard"))
    recorder.metrics(1, {"reward": 0.5})
    recorder.metrics(2, {"reward": 0.75})
    recorder.close()
    assert scalars(tmp_path, "reward") == [(1, 0.5), (2, 0.75)]


def test_tensorboard_forgets_steps_that_are_run_again(tmp_path):
    recorder = RunRecorder(tmp_path, recipe("tensorboard"))
    for step in (1, 2, 3):
        recorder.metrics(step, {"reward": float(step)})
    recorder.rewind(1)
    recorder.metrics(2, {"reward": 20.0})
    recorder.close()
    assert scalars(tmp_path, "reward") == [(1, 1.0), (2, 20.0)]


def test_a_tracker_that_is_not_installed_is_named_with_its_pip_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        RunRecorder(tmp_path, recipe("wandb"))


def test_no_tracker_is_imported_unless_asked_for():
    code = (
        "import sys, rlpeft.metrics; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'tensorboard', 'wandb', 'trackio')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
