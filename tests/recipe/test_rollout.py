"""What engines are built from: all that they see of a recipe, and nothing else."""

import pytest

from rlpeft.errors import ConfigError
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.run import EngineSpec, RolloutConfig, SvfAdapter
from rlpeft.recipe.set_up import set_up

ADAPT = {
    "name": "mix",
    "experts": ["runs"],
    "model": {"name": "tiny", "dtype": "bfloat16"},
    "task": {"name": "tiny/mix"},
    "search": {"population_size": 7},
}


def test_a_recipe_gives_the_spec_of_its_engines(quick):
    recipe = quick(train={"seed": 3}, adapter={"type": "lora", "rank": 2})
    assert recipe.engine == EngineSpec(
        model=recipe.model.base, adapter=recipe.adapter, rollout=recipe.rollout, seed=3
    )


@pytest.mark.parametrize(
    "other", [{"learner": {"lr": 0.5}}, {"task": {"name": "tiny/sort"}}, {"train": {"steps": 9}}]
)
def test_what_engines_never_see_makes_no_other_spec(quick, other):
    assert quick(**other).engine.model_dump_json() == quick().engine.model_dump_json()


@pytest.mark.parametrize(
    "other", [{"rollout": {"max_tokens": 9}}, {"train": {"seed": 1}}, {"model": {"name": "x"}}]
)
def test_what_engines_see_makes_another(quick, other):
    assert quick(**other).engine != quick().engine


def test_a_recipe_without_a_quantisation_says_nothing_of_one(quick):
    assert "quantisation" not in quick().model_dump()["model"]
    assert quick(model={"quantisation": "int8"}).engine.model.quantisation == "int8"


@pytest.mark.parametrize(
    ("model", "other", "message"),
    [
        ("nf4", {"rollout": {"engine": "vllm"}}, r"'nf4' needs rollout\.engine = 'hf', got 'vllm'"),
        (
            "int8",
            {
                "rollout": {"engine": "vllm", "tensor_parallel": 2},
                "resources": {"engine_cpus": 2},
            },
            r"rollout\.tensor_parallel must be left out",
        ),
        (
            "int8",
            {"learner": {"parallel": "shard"}, "resources": {"learners": 2}},
            r"learner\.parallel = 'shard' must be left out",
        ),
        ("int3", {}, r"model\.quantisation"),
    ],
)
def test_a_quantisation_that_cannot_be_done_is_refused_at_once(quick, model, other, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        quick(model={"quantisation": model}, **other)


def test_a_search_refuses_it_too():
    with pytest.raises(ValueError, match="'nf4' needs"):
        AdaptRecipe.model_validate(
            ADAPT
            | {"model": {"name": "tiny", "quantisation": "nf4"}, "rollout": {"engine": "vllm"}}
        )


def test_weights_have_the_engines_own_dtype_or_the_learners(quick):
    model = {"dtype": "float16"}
    assert quick(model=model).engine.dtype == "float16"
    assert quick(model=model, rollout={"dtype": "float32"}).engine.dtype == "float32"


def test_a_search_gives_each_of_its_population_a_place_in_the_batch():
    def options(**rollout):
        recipe = AdaptRecipe.model_validate(ADAPT | {"rollout": rollout})
        return recipe.engine(SvfAdapter()).rollout.options

    assert options() == {}
    assert options(engine="vllm") == {"max_experts": 7}
    own = {"max_experts": 2, "form": "dense"}
    assert options(engine="vllm", options=own) == own


def test_the_section_itself_is_left_as_it_was():
    rollout = RolloutConfig(engine="vllm")
    rollout.for_experts(3)
    assert rollout.options == {}


def test_an_engine_with_a_share_of_a_gpu_takes_no_more_of_its_memory(quick):
    spec = quick(rollout={"engine": "vllm", "options": {"form": "dense"}}).engine
    taken = {"form": "dense", "gpu_memory_utilization": 0.46}
    assert spec.with_gpu_share(0.5).rollout.options == taken
    assert quick().engine.with_gpu_share(0.5) == quick().engine


@pytest.mark.parametrize("option", ["gpu_memory_utilization", "kv_cache_memory_bytes"])
def test_what_a_recipe_says_of_an_engines_memory_stands(quick, option):
    spec = quick(rollout={"engine": "vllm", "options": {option: 0.2}}).engine
    assert spec.with_gpu_share(0.5) == spec


@pytest.mark.parametrize(
    ("engine", "batch_size", "rows"), [("hf", None, 256), ("hf", 32, 32), ("vllm", 8, 32)]
)
def test_a_call_of_one_engine_among_several_has_full_batches(engine, batch_size, rows):
    assert RolloutConfig(engine=engine, batch_size=batch_size).rows_a_call == rows


SHARED = {"engine": "vllm", "tensor_parallel": 2}


@pytest.mark.parametrize(
    ("rollout", "resources", "said"),
    [
        ({"tensor_parallel": 2}, {}, "must be 1 with rollout.engine = 'hf', got 2"),
        (SHARED, {"engine_gpus": 1}, "engine_gpus must be rollout.tensor_parallel = 2, a GPU for"),
        (SHARED, {"engine_gpus": 4}, "got 4"),
        ({"engine": "vllm"}, {"engine_gpus": 2}, r"\(or a share of one\), got 2"),
        (SHARED, {"engine_cpus": 1}, "at least rollout.tensor_parallel = 2 without GPUs"),
        ({"engine": "vllm", "options": {"tensor_parallel_size": 2}}, {}, "rollout.tensor_parallel"),
    ],
)
def test_workers_of_an_engine_have_a_device_each_or_the_recipe_is_refused(
    quick, rollout, resources, said
):
    with pytest.raises(ConfigError, match=said):
        quick(rollout=rollout, resources=resources)


@pytest.mark.parametrize("resources", [{"engine_gpus": 2}, {"engine_cpus": 2}])
def test_workers_that_have_a_device_each_change_no_number_of_a_run(quick, resources):
    shared = quick(rollout=SHARED, resources=resources)
    assert set_up(shared) == set_up(quick(rollout={"engine": "vllm"}))
