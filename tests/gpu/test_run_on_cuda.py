"""Whole runs on one GPU, as a user starts them."""

import json
import subprocess
import sys

import pytest

from rlpeft.runs.checkpoint import load_checkpoint

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.timeout(300)]


def train(folder, *options):
    command = [sys.executable, "-m", "jobs.train", "quickstart", "--local", "--json"]
    done = subprocess.run(
        [*command, "--out", str(folder), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_the_quickstart_learns_on_a_gpu_and_says_where_it_is(tmp_path):
    summary, said = train(tmp_path / "run")
    assert "note: learner and engine share" in said
    assert summary["test"]["accuracy"] > 0.95
    assert load_checkpoint(tmp_path / "run")["progress"]["step"] == 60


@pytest.mark.vllm
def test_learner_and_vllm_share_a_gpu(tmp_path):
    pytest.importorskip("vllm")
    options = ("rollout.engine=vllm", "rollout.canary_bound=0.05", "train.steps=20")
    summary, _ = train(tmp_path / "run", *(x for option in options for x in ("--set", option)))
    assert summary["test"]["accuracy"] > summary["base_test"]["accuracy"]
