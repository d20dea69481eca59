"""A run in actors is the run of a single process, whatever dies there."""

import threading
import time

import pytest

from jobs.cluster.parts import on_ray, shared_on_ray, wait_for
from rlpeft.experts.steps import step_folder
from rlpeft.program.run import run
from rlpeft.program.together import run_together

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.parametrize("lag", [0, 2])
def test_a_run_on_ray_whose_engine_is_killed_ends_as_one_in_a_single_process(
    cluster, quick, tmp_path, engines, decided, lag
):
    recipe = quick(resources={"reward_workers": 2}, rollout={"max_lag": lag})
    killed = []

    def kill_soon(progress, metrics):
        if progress.step == 1:  # in the middle of what follows: a sync or a rollout
            killed.extend(engines())
            threading.Timer(0.1, killed[0].kill).start()

    there = run(recipe, tmp_path / "ray", venue=on_ray(), on_step=kill_soon)
    here = run(recipe, tmp_path / "here")
    assert len(killed) == 1
    assert decided(tmp_path / "ray") == decided(tmp_path / "here")
    assert there["test"] == here["test"]
    assert engines() == []


TURNS = {
    "environment": {
        "name": "calculator",
        "options": {"open": "", "close": "", "calculates": "{} % 7 + 1", "reply": "{}&="},
        "max_turns": 2,
        "max_turn_tokens": 6,
    },
    "rollout": {"max_tokens": 20, "num_engines": 2},
    "train": {"steps": 2},
}


def near(one, other):
    """Whether two trees are equal, but for the last digits of their numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(near(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(near, one, other))
    return one == (pytest.approx(other, rel=1e-3, abs=1e-4) if isinstance(one, float) else other)


def test_conversations_on_ray_are_those_of_a_single_process(cluster, quick, tmp_path, decided):
    recipe = quick(**TURNS)
    run(recipe, tmp_path / "ray", venue=on_ray())
    run(recipe, tmp_path / "here")
    there = decided(tmp_path / "ray")
    # Two engines fill other batches than one, which some processors add up in another order.
    assert near(there, decided(tmp_path / "here"))
    steps = there["metrics"][1:]
    assert any(row["environment/turns"] > 1 for row in steps)
    assert all(row["sampling/sampling_logp_difference/max"] < 1e-3 for row in steps)


def test_a_run_on_ray_goes_on_from_experts_as_one_in_a_single_process(
    cluster, quick, tmp_path, decided
):
    merged = {"merge": [str(step_folder(tmp_path / "first", 1))]}
    run(quick(train={"steps": 1}), tmp_path / "first")
    run(quick(model=merged, train={"steps": 1}), tmp_path / "second")
    start = {"start": str(step_folder(tmp_path / "second", 1))}
    recipe = quick(
        model=merged | start, loss={"kl_coef": 0.1, "reference": "start"}, train={"steps": 2}
    )
    there, here = run(recipe, tmp_path / "ray", venue=on_ray()), run(recipe, tmp_path / "here")
    assert decided(tmp_path / "ray") == decided(tmp_path / "here")
    assert there["start_test"] == here["start_test"]


@pytest.mark.vllm
@pytest.mark.timeout(400)
def test_an_engine_of_two_workers_in_one_actor_samples_as_the_learner_scores(
    cluster, quick, tmp_path, decided
):
    pytest.importorskip("vllm")
    recipe = quick(
        rollout={"engine": "vllm", "tensor_parallel": 2},
        resources={"engine_cpus": 2},
        train={"steps": 2},
    )
    run(recipe, tmp_path / "ray", venue=on_ray())
    steps = decided(tmp_path / "ray")["metrics"][1:]
    assert len(steps) == 2
    assert all(row["sampling/sampling_logp_difference/max"] < 1e-3 for row in steps)


def test_reward_workers_judge_each_task_by_its_own_rewards(cluster, quick, tmp_path, decided):
    sizes = {"num_validation": 6, "num_test": 8}
    swap = {"name": "tiny/swap", "weight": 3, "reward": [{"name": "exact"}], **sizes}
    ends = {"name": "tiny/ends", "max_tokens": 1, "reward": [{"name": "math"}], **sizes}
    mixed = {"task": [swap, ends], "reward": None}
    recipe = quick(**mixed, resources={"reward_workers": 2})
    summary = run(recipe, tmp_path / "ray", venue=on_ray())
    assert summary["tasks"] == run(quick(**mixed), tmp_path / "here")["tasks"]
    assert decided(tmp_path / "ray") == decided(tmp_path / "here")


def test_experts_together_on_ray_end_as_alone_in_a_single_process(
    cluster, quick, tmp_path, decided, engines
):
    recipes = {
        "swap": quick(name="swap"),
        "ends": quick(name="ends", task={"name": "tiny/ends"}, train={"seed": 1}),
    }
    there = run_together(recipes, tmp_path / "ray", open_shared=shared_on_ray)
    for name, recipe in recipes.items():
        here = run(recipe, tmp_path / name)
        assert decided(tmp_path / "ray" / name) == decided(tmp_path / name)
        assert there[name]["test"] == here["test"]
    assert engines() == []


def test_those_who_wait_for_a_slow_start_are_told_of_it(capsys):
    class Slow:
        def ready(self):
            while "learner and engines have been opening for 0 s" not in capsys.readouterr().err:
                time.sleep(0.01)

    wait_for(Slow(), interval_s=0.01)
