"""Several ranks of a learner without Ray: a run's other processes, and what comes of their loss."""

import multiprocessing
import os
from dataclasses import replace

import pytest
import torch

from rlpeft.errors import ClusterError, ConfigError
from rlpeft.program.launched import require_devices
from rlpeft.program.run import run
from rlpeft.runs.records import read_metrics

# PyTorch warns that a file is no place to meet for long.
pytestmark = pytest.mark.filterwarnings("ignore")


def losses(folder):
    return [row["loss"] for row in read_metrics(folder) if "loss" in row]


@pytest.mark.slow
def test_a_run_whose_rank_is_killed_says_so_and_goes_on_by_the_same_command(
    quick, tmp_path, capsys
):
    before = {*multiprocessing.active_children()}  # engines of other tests

    def own():
        return {*multiprocessing.active_children()} - before

    def kill(progress, metrics):
        if progress.step == 2:
            (other,) = own()
            other.kill()

    recipe = quick(resources={"learners": 2})
    message = "rank 1 of the learner must stay alive, SIGKILL ended it"
    with pytest.raises(ClusterError, match=message):
        run(recipe, tmp_path / "two", on_step=kill)
    assert not own()
    run(recipe, tmp_path / "two")
    rows = read_metrics(tmp_path / "two")
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["perf/learner_ranks"] for row in rows[1:]] == [2] * 4
    run(quick(), tmp_path / "one")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
    assert "goes on with" not in capsys.readouterr().err
    run(quick(train={"steps": 5}), tmp_path / "two")
    said = " ".join(capsys.readouterr().err.split())
    assert "had resources.learners = 2 and goes on with 1: gradients" in said
    assert len(losses(tmp_path / "two")) == 5


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    require_devices(2)
    with pytest.raises(
        ConfigError, match=r"resources\.learners = 3 needs a GPU for each rank, .*2"
    ):
        require_devices(3)


@pytest.mark.slow
def test_a_rank_that_cannot_start_is_told_with_its_cause(quick, tiny, monkeypatch):
    """Its own process does not find the base model."""
    from rlpeft.build import build_learner
    from rlpeft.program.launched import several

    learner = build_learner(quick(), tiny)
    recipe, lost = quick(resources={"learners": 2}), replace(tiny, name="no-such-model")
    message = "every rank of the learner must start, rank 1 did not: .*no-such-model"
    with pytest.raises(ClusterError, match=message), several(recipe, lost, learner):
        pass
    assert os.environ.get("CUDA_VISIBLE_DEVICES") is None
