"""Trackers are told of a run, and none of them can end it."""

import sys

import pytest

from rlpeft.errors import ConfigError
from rlpeft.runs.reporting import Reporting
from rlpeft.runs.trackers import TRACKERS

ROW = {"prompt": "2+2=", "completion": "4"}


class Told:
    """A tracker that remembers what it is told, and fails at one call."""

    takes_pictures = True

    def __init__(self, failing=None):
        self.calls, self._failing = [], failing

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            if name == self._failing:
                raise ConnectionError("nobody\nanswers")

        return call


@pytest.fixture
def reporting(tmp_path, monkeypatch):
    """A maker of trackers that fail at a call, and their reporting."""

    def make(**failing):
        made = {name: Told(call) for name, call in failing.items()}
        for name, tracker in made.items():
            monkeypatch.setitem(sys.modules, name, pytest)  # any module will do: it is there
            monkeypatch.setitem(TRACKERS, name, lambda *_, tracker=tracker: tracker)
        return Reporting(tmp_path, {"name": "sums"}, [*made]), *made.values()

    return make


def test_a_tracker_that_fails_is_told_of_once_and_again_at_the_end(reporting, capsys):
    recorder, failing, other = reporting(wandb="log", trackio=None)
    recorder.metrics(1, {"reward": 0.5})
    recorder.metrics(2, {"reward": 0.6})
    told = " ".join(capsys.readouterr().err.split())
    assert told == (
        "note: tracker 'wandb' failed at step 1, the run goes on without it: ConnectionError: "
        "nobody answers"
    )
    assert failing.calls == [("log", 1, {"reward": 0.5})]
    assert [step for _, step, _ in other.calls] == [1, 2]
    recorder.close()
    told = " ".join(capsys.readouterr().err.split())
    assert told == "note: tracker 'wandb' was lost at step 1; metrics.jsonl has every step."
    assert other.calls[-1] == ("close",)
    recorder.close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("call", ["rewind", "completions", "pictures", "close"])
def test_no_call_of_a_tracker_ends_a_run(reporting, capsys, call):
    recorder, _ = reporting(wandb=call)
    recorder.rewind(0)
    recorder.completions([ROW])
    recorder.metrics(1, {"eval_accuracy": 0.5})
    recorder.pictures(1, {})
    recorder.close()
    assert capsys.readouterr().err.count("failed") == 1


def test_completions_are_told_of_steps_with_a_validation(reporting):
    recorder, tracker = reporting(wandb=None)
    for step, values in ((1, {"reward": 0.5}), (2, {"reward": 0.5, "eval_accuracy": 0.5})):
        recorder.completions([{**ROW, "completion": str(step)}])
        recorder.metrics(step, values)
    tables = [call for call in tracker.calls if call[0] == "completions"]
    assert tables == [("completions", 2, [{**ROW, "completion": "2"}])]


def test_a_tracker_that_is_not_there_is_refused_with_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"pip install mlflow, or pip install 'rlpeft\[track\]'"):
        Reporting(tmp_path, {"name": "sums"}, ["mlflow"])


def test_a_tracker_that_is_set_up_wrongly_ends_the_run_before_it_begins(tmp_path, monkeypatch):
    def refuse(*_):
        raise ConfigError("log in")

    monkeypatch.setitem(TRACKERS, "tensorboard", refuse)
    with pytest.raises(ConfigError, match="log in"):
        Reporting(tmp_path, {"name": "sums"}, ["tensorboard"])
