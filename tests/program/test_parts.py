"""What is decided before the parts of a run are built."""

from types import SimpleNamespace

import pytest
import torch

from rlpeft.build import build_learner
from rlpeft.doctor.memory import learner_bytes
from rlpeft.errors import ConfigError
from rlpeft.program.parts import beside, local_parts, scorer_here


@pytest.mark.parametrize("option", ["learner_gpus", "engine_gpus"])
def test_gpus_that_one_process_has_not_are_told_before_anything_is_loaded(
    make_quick, monkeypatch, option
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    recipe = make_quick(resources={option: 1})
    with (
        pytest.raises(ConfigError, match=rf"resources\.{option} = 1 asks for a GPU"),
        local_parts(recipe, base=None),
    ):
        pass


def test_rewards_that_are_listed_twice_are_told(make_quick, capsys):
    with scorer_here(make_quick(reward=[{"name": "exact"}] * 2), None):
        said = capsys.readouterr().err
    assert "rewards list 'exact' twice with equal options" in " ".join(said.split())


@pytest.fixture
def on_a_gpu(make_quick, tiny, monkeypatch):
    """A recipe and its learner, as far as anybody asks on a GPU of which that takes a share."""

    def make(share):
        recipe = make_quick(rollout={"engine": "vllm"})
        here = build_learner(recipe, tiny)
        there = SimpleNamespace(
            device=torch.device("cuda"), policy=here.policy, parameters=here.parameters
        )
        found = SimpleNamespace(total_memory=learner_bytes(recipe, here) / share)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: found)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
        return recipe, there

    return make


def test_an_engine_beside_a_learner_takes_what_that_leaves(on_a_gpu, capsys):
    spec = beside(*on_a_gpu(0.3))
    assert spec.rollout.options == {"gpu_memory_utilization": pytest.approx(0.92 * 0.7, abs=1e-3)}
    said = capsys.readouterr().err
    assert "learner and engine share A GPU, of which the engine may take 70%" in said


def test_an_engine_that_would_be_left_nothing_is_not_started(on_a_gpu):
    with pytest.raises(ConfigError, match=r"the learner alone takes about 94% of it"):
        beside(*on_a_gpu(0.94))
