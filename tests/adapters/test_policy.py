"""From a recipe's section to a PEFT config: every field arrives; what does not fit is named."""

import pytest

from rlpeft.adapters.policy import attach_adapter, peft_config
from rlpeft.errors import ConfigError, ModelError
from rlpeft.recipe.run import HypLoraAdapter, LoraFamilyAdapter, MoSLoraAdapter


def test_every_field_of_hyplora_reaches_its_config(llama):
    section = {
        "rank": 3,
        "alpha": 5.0,
        "curvature": -0.5,
        "curvature_bounds": (0.1, 2.0),
        "curvature_reg": 0.25,
        "variant": "boost",
        "norm_mode": "unit",
        "learn_curvature": False,
    }
    config = peft_config(
        HypLoraAdapter(type="hyplora", targets=("q_proj",), layers=(1,), **section), llama()
    )
    renamed = {"r": section.pop("rank"), "lora_alpha": section.pop("alpha")}
    for name, value in {**section, **renamed, "layers_to_transform": [1]}.items():
        assert getattr(config, name) == value, name
    assert config.target_modules == {"q_proj"}


def test_every_field_of_moslora_reaches_its_config(llama):
    section = {
        "rank": 5,
        "alpha": 5.0,
        "curvature": 0.5,
        "curvature_bounds": (0.1, 2.0),
        "curvature_reg": 0.25,
        "spaces": ("hyperbolic", "spherical"),
        "map": "stereo",
        "router": "z",
        "balance_coef": 0.5,
        "learn_curvature": False,
    }
    config = peft_config(MoSLoraAdapter(type="moslora", **section), llama())
    renamed = {"r": section.pop("rank"), "lora_alpha": section.pop("alpha")}
    for name, value in {**section, **renamed}.items():
        assert getattr(config, name) == (list(value) if name == "spaces" else value), name


def test_a_rank_too_small_for_the_experts_of_a_module_names_it(llama):
    adapter = MoSLoraAdapter(type="moslora", rank=4, targets=("k_proj",))
    with pytest.raises(
        ConfigError, match=r"at least 6 for 3 adapter\.spaces in 'model\.layers\.0.*k_proj'"
    ):
        attach_adapter(llama(), adapter, seed=0)


@pytest.mark.parametrize(
    "adapter",
    [
        HypLoraAdapter(type="hyplora", targets=("embed_tokens",)),
        MoSLoraAdapter(type="moslora", targets=("embed_tokens",)),
    ],
    ids=["hyplora", "moslora"],
)
def test_a_target_that_is_no_linear_layer_is_named(llama, adapter):
    with pytest.raises(ModelError, match=r"'model\.embed_tokens' is a Embedding"):
        attach_adapter(llama(), adapter, seed=0)


def test_targets_that_match_nothing_list_what_there_is(llama):
    with pytest.raises(ModelError, match=r"named down_proj, gate_proj"):
        attach_adapter(llama(), LoraFamilyAdapter(type="lora", targets=("query",)), seed=0)
