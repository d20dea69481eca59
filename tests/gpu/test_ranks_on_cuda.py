"""Two ranks of a learner on two GPUs, over nccl."""

import json
import subprocess
import sys

import pytest
import torch

from rlpeft.runs.records import read_metrics

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("parallel", ["replicate", "shard"])
@pytest.mark.parametrize("command", [("train", "--local"), ("sft",)], ids=lambda each: each[0])
def test_two_ranks_train_on_a_gpu_each(tmp_path, command, parallel):
    if torch.cuda.device_count() < 2:
        pytest.skip("there are fewer than two CUDA devices")
    ranks = ("resources.learners=2", "resources.learner_gpus=1", f"learner.parallel={parallel}")
    options = (*ranks, "train.steps=3")
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from jobs.cli import main; main()"),
            *(*command, "quickstart", "--json", "--out", str(tmp_path)),
            *(word for option in options for word in ("--set", option)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["best_step"] >= 0
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2, 3]
