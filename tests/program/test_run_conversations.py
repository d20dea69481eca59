"""Runs whose policy talks to an environment: exact, honest about who said what, one line if not."""

import pytest

from rewards.errors import RewardError
from rlpeft.experts.files import load_expert
from rlpeft.program.run import run
from rlpeft.report.page import write_report
from rlpeft.runs.records import completions_steps, read_completions, read_metrics

CALCULATOR = {
    "name": "calculator",
    "options": {"open": "", "close": "", "calculates": "{} % 7 + 1", "reply": "{}&="},
    "max_turns": 2,
    "max_turn_tokens": 6,
}
SECTIONS = {
    "environment": CALCULATOR,
    "rollout": {"max_tokens": 20},
    "train": {"steps": 3, "eval_every": 1},
}


class CutOff(Exception):
    """Stands for whatever ends a driver."""


def cut_off(progress, metrics):
    if progress.step == 2:
        raise CutOff


@pytest.mark.slow
def test_one_that_was_cut_off_ends_bit_for_bit_as_one_that_was_not(quick, tmp_path, decided):
    recipe = quick(**SECTIONS)
    whole = run(recipe, tmp_path / "whole")
    with pytest.raises(CutOff):
        run(recipe, tmp_path / "parts", on_step=cut_off)
    parts = run(recipe, tmp_path / "parts")
    assert decided(tmp_path / "parts") == decided(tmp_path / "whole")
    assert parts["test"] == whole["test"]
    _look_at_whole(tmp_path / "whole")


def _look_at_whole(folder):
    """The turns are told apart, and the learner finds the engine's log-probs of the policy's own.

    One test for all of it: each run takes seconds.
    """
    metrics = read_metrics(folder)[1:]
    assert all(row["sampling/sampling_logp_difference/max"] < 1e-3 for row in metrics)
    assert any(row["environment/turns"] > 1 for row in metrics)
    rows = [row for path in completions_steps(folder) for row in read_completions(path)]
    talks = [row["completion"] for row in rows if "environment: " in row["completion"]]
    assert talks
    assert all(talk.startswith("policy: ") for talk in talks)
    assert sum(row["num_tokens"] for row in rows) == sum(row["num_tokens"] for row in metrics)
    told = {"name", "options", "max_turns", "max_turn_tokens", "role"}
    assert load_expert(folder / "expert").card.environment.keys() == told
    assert "said by the environment, not trained" in write_report(folder).read_text()


DIES = """
import os
class E:
    def reset(self, row, seed): pass
    def step(self, text): os._exit(3)
"""


@pytest.mark.slow
def test_an_environment_that_dies_ends_the_run_in_one_line(quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_world.py").write_text(DIES)
    recipe = quick(**SECTIONS | {"environment": {"name": "own_world:E"}})
    with pytest.raises(RewardError, match="it ended with exit code 3") as caught:
        run(recipe, tmp_path / "run")
    assert str(caught.value).startswith("environment 'own_world:E' must stay alive, it ended")
    assert len(str(caught.value).splitlines()) == 1
