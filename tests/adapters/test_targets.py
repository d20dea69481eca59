"""Default targets: all attention and MLP projections, in every family, and what is left out."""

import pytest
import torch
from peft import get_peft_model
from torch import nn
from transformers import Gemma3Config, Idefics3Config

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig, SvfConfig
from rlpeft.adapters.policy import adapted_modules, attach_adapter, peft_config
from rlpeft.adapters.svf import SvfLinear
from rlpeft.adapters.targets import (
    adapted,
    kind_counts,
    left_out,
    projections,
    towers,
    unmatched,
)
from rlpeft.errors import ModelError
from rlpeft.models.load import model_class
from rlpeft.recipe.run import Ia3Adapter, LoraFamilyAdapter, SvfAdapter

ATTENTION = {"q_proj": 2, "k_proj": 2, "v_proj": 2, "o_proj": 2}
MLP = {"gate_proj": 2, "up_proj": 2, "down_proj": 2}
FUSED_EXPERTS = {"experts.gate_up_proj": 2, "experts.down_proj": 2}
BLOCK = {"query_key_value": 2, "dense": 2, "dense_h_to_4h": 2, "dense_4h_to_h": 2}
# The first layer is dense, the second has one shared expert.
LATENT = {"q_a_proj": 2, "q_b_proj": 2, "kv_a_proj_with_mqa": 2, "kv_b_proj": 2, "o_proj": 2}
ONE_FUSED = {"experts.gate_up_proj": 1, "experts.down_proj": 1}

FAMILIES = [
    ("llama", ATTENTION | MLP, {}),
    ("gemma2", ATTENTION | MLP, {}),
    ("phi", {"q_proj": 2, "k_proj": 2, "v_proj": 2, "dense": 2, "fc1": 2, "fc2": 2}, {}),
    ("phi3", {"o_proj": 2, "qkv_proj": 2, "gate_up_proj": 2, "down_proj": 2}, {}),
    ("glm", ATTENTION | {"gate_up_proj": 2, "down_proj": 2}, {}),
    ("opt", {"k_proj": 2, "v_proj": 2, "q_proj": 2, "out_proj": 2, "fc1": 2, "fc2": 2}, {}),
    ("gpt_neox", BLOCK, {}),
    ("falcon", BLOCK, {}),
    ("bloom", BLOCK, {}),
    ("gpt2", {"c_attn": 2, "c_proj": 4, "c_fc": 2}, {}),
    ("starcoder2", ATTENTION | {"c_fc": 2, "c_proj": 2}, {}),
    ("nemotron", ATTENTION | {"up_proj": 2, "down_proj": 2}, {}),
    ("mixtral", ATTENTION, FUSED_EXPERTS),
    ("qwen3_moe", ATTENTION, FUSED_EXPERTS),
    ("gpt_oss", ATTENTION, FUSED_EXPERTS),
    ("phimoe", ATTENTION, FUSED_EXPERTS | {"router": 2}),
    ("qwen2_moe", ATTENTION | MLP, FUSED_EXPERTS | {"shared_expert_gate": 2}),
    ("deepseek_v3", LATENT | MLP, ONE_FUSED),
]


@pytest.mark.parametrize(("kind", "moved", "others"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_default_targets_are_all_projections_of_the_family(kind, moved, others, tiny_model):
    base = tiny_model(kind)
    names = adapted(base, peft_config(SvfAdapter(), base))
    assert kind_counts(names) == moved
    assert left_out(base, names) == others


def test_an_attached_adapter_moves_what_its_config_says_and_leaves_out_the_same(tiny_model):
    base = tiny_model("phi3")
    said = adapted(base, peft_config(SvfAdapter(), base))
    policy = attach_adapter(base, SvfAdapter(targets=("qkv_proj",)), seed=0)
    assert kind_counts(adapted_modules(policy)) == {"qkv_proj": 2}
    others = left_out(policy.get_base_model(), adapted_modules(policy))
    assert others == {"o_proj": 2, "gate_up_proj": 2, "down_proj": 2}
    assert len(said) == sum(others.values()) + 2


def test_layers_are_chosen_under_default_targets(tiny_model):
    base = tiny_model("llama")
    names = adapted(base, peft_config(SvfAdapter(layers=(1,)), base))
    assert len(names) == 7
    assert all(".layers.1." in name for name in names)


def test_lora_leaves_dense_layers_out_where_peft_reads_their_names_as_experts(tiny_model):
    """PEFT would turn gate_proj into fused experts, and skip the layers that have the name."""
    base = tiny_model("deepseek_v3")
    policy = attach_adapter(base, LoraFamilyAdapter(type="lora", rank=2), seed=0)
    assert kind_counts(adapted_modules(policy)) == LATENT
    assert left_out(policy.get_base_model(), adapted_modules(policy)) == MLP | ONE_FUSED


VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
TOWER = {"q_proj": 2, "k_proj": 2, "v_proj": 2, "out_proj": 2, "fc1": 2, "fc2": 2}
SEEING = pytest.mark.parametrize("kind", ["gemma3", "idefics3"])


@pytest.fixture
def seeing(tiny_model):
    """A maker of vision-language models whose towers have layers of the same names and numbers."""

    def make(kind):
        with torch.device("meta"):
            if kind == "gemma3":
                text = {**tiny_model("gemma3_text").config.to_dict(), "vocab_size": 60}
                config = Gemma3Config(text_config=text, vision_config=VISION, mm_tokens_per_image=4)
            else:
                text = {**tiny_model("llama").config.to_dict(), "vocab_size": 60}
                config = Idefics3Config(
                    text_config=text, vision_config=VISION, image_token_id=50, pad_token_id=0
                )
            return model_class(config).from_config(config)

    return make


LANGUAGE_ALONE = [
    (SvfAdapter(), ATTENTION | MLP),
    (SvfAdapter(targets=("q_proj", "v_proj")), {"q_proj": 2, "v_proj": 2}),
    (SvfAdapter(targets=("gate_proj", "v_proj"), layers=(1,)), {"gate_proj": 1, "v_proj": 1}),
    (SvfAdapter(layers=(0,)), dict.fromkeys(ATTENTION | MLP, 1)),
    (Ia3Adapter(type="ia3"), {"k_proj": 2, "v_proj": 2, "down_proj": 2}),
    (LoraFamilyAdapter(type="lora"), ATTENTION | MLP),
]


@SEEING
@pytest.mark.parametrize(("adapter", "moved"), LANGUAGE_ALONE)
def test_of_a_vision_language_model_the_language_model_alone_is_adapted(
    kind, adapter, moved, seeing
):
    base = seeing(kind)
    names = adapted(base, peft_config(adapter, base))
    assert kind_counts(names) == moved
    assert all("vision" not in name for name in names)


def test_layers_are_those_of_the_language_model(seeing):
    base = seeing("idefics3")
    names = adapted(base, peft_config(SvfAdapter(layers=(1,)), base))
    assert {name.rpartition(".layers.")[0] for name in names} == {"model.text_model"}
    assert all(".layers.1." in name for name in names)


def test_the_layers_of_towers_are_counted_among_what_is_left_out(seeing):
    gemma, idefics = seeing("gemma3"), seeing("idefics3")
    tower = sum(TOWER.values())
    assert left_out(gemma, projections(gemma)) == {"vision_tower": tower + 3}  # it pools, too
    assert left_out(idefics, projections(idefics)) == {"vision_model": tower, "connector": 1}


def test_a_model_of_text_has_no_towers(tiny_model):
    assert towers(tiny_model("opt")) == towers(tiny_model("llama")) == {}


@SEEING
def test_an_expression_that_reaches_into_a_tower_is_refused(kind, seeing):
    base = seeing(kind)
    with pytest.raises(
        ModelError, match=r"of the language model alone, '\.\*q_proj' matches 'model"
    ):
        peft_config(SvfAdapter(targets=r".*q_proj"), base)


def test_names_of_a_tower_alone_are_refused(seeing):
    base = seeing("idefics3")
    with pytest.raises(ModelError, match=r"none of Idefics3.* does.*named q_proj, k_proj"):
        peft_config(SvfAdapter(targets=("fc1", "out_proj")), base)


def test_names_that_no_module_has_are_told(tiny_model):
    base = tiny_model("phi3")
    names = adapted(base, peft_config(Ia3Adapter(type="ia3"), base))
    assert unmatched(Ia3Adapter(type="ia3").targets, names) == ["k_proj", "v_proj"]


def test_a_model_without_decoder_layers_asks_for_names():
    class Bare(torch.nn.Module):
        def get_decoder(self):
            return self

    with pytest.raises(ModelError, match=r"adapter.targets must be named for Bare"):
        projections(Bare())


@pytest.mark.parametrize("config", [SvfConfig, HypLoraConfig, MoSLoraConfig])
def test_a_layer_whose_weight_is_read_past_its_forward_is_refused(config):
    """torch's attention multiplies by `out_proj.weight` itself: no adapter there would act."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2)

    with pytest.raises(ModelError, match=r"reads the weight of 'attention\.out_proj'"):
        get_peft_model(Encoder(), config(target_modules=["out_proj"]))


def test_projections_of_a_mamba_mixer_are_refused(tiny_model):
    with pytest.raises(ModelError, match=r"MambaMixer reads the weight of .*dt_proj"):
        get_peft_model(tiny_model("mamba"), SvfConfig(target_modules=["dt_proj"]))


OWN = pytest.mark.parametrize("config", [SvfConfig, HypLoraConfig, MoSLoraConfig])


@OWN
@pytest.mark.parametrize(
    "kind", ["phi3", "gpt_neox", "granite", "gpt2", "falcon", "opt", "starcoder2"]
)
def test_a_config_without_targets_finds_those_of_any_family(kind, config, tiny_model):
    policy = get_peft_model(tiny_model(kind), config())
    if kind == "granite":
        assert kind_counts(adapted_modules(policy)) == ATTENTION | MLP
    else:
        [moved] = [moved for family, moved, _ in FAMILIES if family == kind]
        assert kind_counts(adapted_modules(policy)) == moved


@OWN
def test_a_config_without_targets_tells_of_experts_that_it_leaves_out(config, tiny_model):
    base = tiny_model("mixtral")
    with pytest.warns(UserWarning, match=r"experts\.gate_up_proj 2, experts\.down_proj 2"):
        policy = get_peft_model(base, config())
    assert kind_counts(adapted_modules(policy)) == ATTENTION


def test_a_further_adapter_without_targets_finds_the_same(tiny_model):
    policy = get_peft_model(tiny_model("phi3"), SvfConfig())
    policy.add_adapter("other", SvfConfig())
    for module in policy.modules():
        if isinstance(module, SvfLinear):
            assert set(module.svf_z) == {"default", "other"}


def test_ia3_on_a_model_without_its_modules_says_what_to_name(tiny_model):
    with pytest.raises(ModelError, match=r"named c_attn, c_fc, c_proj.*adapter\.feedforward"):
        attach_adapter(tiny_model("gpt2"), Ia3Adapter(type="ia3"), seed=0)


def test_ia3_on_transposed_layers_needs_no_correction(tiny_model, recwarn):
    adapter = Ia3Adapter(type="ia3", targets=("c_attn", "c_fc"), feedforward=())
    policy = attach_adapter(tiny_model("gpt2"), adapter, seed=0)
    assert kind_counts(adapted_modules(policy)) == {"c_attn": 2, "c_fc": 2}
    assert not recwarn.list
