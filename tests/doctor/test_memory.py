"""What is allocated, and where."""

from types import SimpleNamespace

import pytest
import torch

from rlpeft.build import build_learner
from rlpeft.doctor.memory import demands, engine_bytes, learner_bytes


@pytest.fixture
def sized(make_quick, tiny, monkeypatch):
    """A recipe and its learner, on a device; a GPU is of 100 bytes."""
    gpu = SimpleNamespace(total_memory=100)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)

    def make(device, **changes):
        recipe = make_quick(**changes)
        here = build_learner(recipe, tiny)
        return recipe, SimpleNamespace(
            device=torch.device(device), policy=here.policy, parameters=here.parameters
        )

    return make


def test_on_a_cpu_everything_is_in_one_memory(sized):
    recipe, learner = sized("cpu", rollout={"num_engines": 3})
    (found,) = demands(recipe, learner)
    assert found.need == learner_bytes(recipe, learner) + 3 * engine_bytes(recipe, learner)


@pytest.mark.slow
def test_every_rank_of_the_learner_is_counted(sized):
    recipe, learner = sized("cpu", resources={"learners": 2})
    (found,) = demands(recipe, learner)
    assert found.need == 2 * learner_bytes(recipe, learner) + engine_bytes(recipe, learner)
    parts, _ = sized("cpu", resources={"learners": 2}, learner={"parallel": "shard"})
    plain = sum(t.nbytes for t in (*learner.policy.parameters(), *learner.policy.buffers()))
    saved = learner_bytes(recipe, learner) - learner_bytes(parts, learner)
    assert saved == pytest.approx(engine_bytes(recipe, learner) - plain / 2, abs=1)
    gpus = {"learners": 2, "learner_gpus": 1, "engine_gpus": 1}
    recipe, learner = sized("cuda", resources=gpus)
    mine, _ = demands(recipe, learner)
    assert (mine.of, mine.need) == (
        "each learner rank, on its GPU",
        learner_bytes(recipe, learner),
    )


def test_a_layer_that_is_recomputed_is_counted_beside_the_inputs_of_all(sized):
    recipe, learner = sized("cpu")
    less, _ = sized("cpu", learner={"gradient_checkpointing": True})
    config, size = learner.policy.get_base_model().config, learner.policy.dtype.itemsize
    layers, width, mlp = config.num_hidden_layers, config.hidden_size, config.intermediate_size
    inside = size * (8 * width + 3 * mlp)
    saved = learner_bytes(recipe, learner) - learner_bytes(less, learner)
    assert saved == less.learner.token_budget * ((layers - 1) * inside - layers * size * width)


@pytest.mark.parametrize("gpus", [(0, 0), (0.5, 0.5)])
def test_learner_and_engine_of_one_gpu_are_counted_together(sized, gpus):
    resources = {"learner_gpus": gpus[0], "engine_gpus": gpus[1]}
    recipe, learner = sized("cuda", rollout={"num_engines": 3}, resources=resources)
    (found,) = demands(recipe, learner)
    assert found.need == learner_bytes(recipe, learner) + engine_bytes(recipe, learner)
    assert found.free == 100


def test_engines_with_gpus_of_their_own_are_not_added_up(sized):
    resources = {"learner_gpus": 1, "engine_gpus": 1}
    recipe, learner = sized("cuda", rollout={"num_engines": 3}, resources=resources)
    mine, engine = demands(recipe, learner)
    assert (mine.need, mine.free) == (learner_bytes(recipe, learner), 100)
    assert (engine.need, engine.free) == (engine_bytes(recipe, learner), 100)


def test_workers_that_share_an_engine_hold_a_part_of_it_each(sized):
    rollout = {"engine": "vllm", "tensor_parallel": 2}
    recipe, learner = sized("cuda", rollout=rollout, resources={"engine_gpus": 2})
    _, worker = demands(recipe, learner)
    assert worker.of == "each worker of an engine, on its GPU"
    assert (worker.need, worker.free) == (engine_bytes(recipe, learner) // 2, 100)


def test_an_engine_is_counted_in_its_own_dtype(sized):
    whole, half = sized("cpu"), sized("cpu", rollout={"dtype": "bfloat16"})
    assert engine_bytes(*half) == engine_bytes(*whole) // 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_changed_weight_is_counted_only_where_a_layer_keeps_one(sized, dtype):
    recipe, learner = sized("cpu", model={"dtype": dtype})
    policy = learner.policy
    layers = [m for m in policy.modules() if hasattr(m, "svf_basis")]
    kept = sum(4 * layer.in_features * layer.out_features for layer in layers)
    plain = sum(t.nbytes for t in (*policy.parameters(), *policy.buffers()))
    assert engine_bytes(recipe, learner) == plain + (kept if dtype == "float32" else 0)
