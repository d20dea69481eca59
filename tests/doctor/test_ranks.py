"""Ranks of the learner, before any of them is started."""

import torch

from rlpeft.doctor.ranks import check_ranks, check_workers


def test_one_learner_is_no_row(quick):
    assert list(check_ranks(quick())) == []


def test_ranks_without_work_and_without_gpus_are_warned_of(quick, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    (fine,) = check_ranks(quick(resources={"learners": 2}))
    (idle,) = check_ranks(quick(resources={"learners": 17}))
    (away,) = check_ranks(quick(resources={"learners": 2, "learner_gpus": 1}))
    assert "2 ranks share the 16 completions of a step" in fine.found
    assert "1 would have nothing to do" in idle.advice
    assert "this machine has 1" in away.found


def test_workers_of_an_engine_without_gpus_here_are_warned_of(quick, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    shared = {"engine": "vllm", "tensor_parallel": 2}
    assert list(check_workers(quick())) == []
    (fine,) = check_workers(quick(rollout=shared, resources={"engine_cpus": 2}))
    (away,) = check_workers(quick(rollout=shared, resources={"engine_gpus": 2}))
    assert "2 workers share the weights of each of 1" in fine.found
    assert "this one has 1" in away.found
    assert "cluster" in away.advice
