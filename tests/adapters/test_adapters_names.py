"""Our tuners hide nothing of the model they wrap: PEFT forwards what a tuner does not have."""

import pytest
from peft import get_peft_model
from peft.tuners.tuners_utils import BaseTuner
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig, SvfConfig
from rlpeft.adapters.hyplora import HypLoraModel
from rlpeft.adapters.moslora import MoSLoraModel
from rlpeft.adapters.svf import SvfModel

SMALL = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
MODELS = [
    lambda: LlamaForCausalLM(LlamaConfig(**SMALL, num_hidden_layers=1)),
    lambda: LlamaModel(LlamaConfig(**SMALL, num_hidden_layers=1)),
    lambda: BertModel(BertConfig(**SMALL, num_hidden_layers=1)),
    lambda: GPT2Model(GPT2Config(vocab_size=40, n_embd=32, n_layer=1, n_head=2)),
    lambda: T5ForConditionalGeneration(
        T5Config(vocab_size=40, d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2)
    ),
]


@pytest.mark.parametrize("tuner", [SvfModel, HypLoraModel, MoSLoraModel])
@pytest.mark.parametrize("make", MODELS)
def test_no_name_of_ours_hides_one_of_a_model(tuner, make):
    ours = set(dir(tuner)) - set(dir(BaseTuner))
    assert ours & set(dir(make())) == set()


@pytest.mark.parametrize("config", [SvfConfig, HypLoraConfig, MoSLoraConfig])
def test_the_layers_of_a_bare_model_are_reached_through_the_adapter(config):
    model = MODELS[1]()
    adapted = get_peft_model(model, config(target_modules=["q_proj", "o_proj"]))
    assert adapted.base_model.layers is model.layers
    assert adapted.layers is model.layers
