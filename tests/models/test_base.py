"""A base model's handle: each part is read once, and factors are known without its weights."""

import json
import shutil

import pytest
import torch

from rlpeft.adapters.linear import base_weights
from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.adapters.svf.factors import shared_factors
from rlpeft.errors import ModelError
from rlpeft.models import base as bases
from rlpeft.models import load
from rlpeft.models.base import BaseModel
from rlpeft.recipe.run import SvfAdapter


@pytest.fixture
def folder(tmp_path):
    """A copy of the packaged model, to be changed."""
    return shutil.copytree(BaseModel.open("tiny").path, tmp_path / "model")


@pytest.fixture
def no_loading(monkeypatch):
    """Loading a model's weights fails."""

    def refuse(*_):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(load, "load_base_model", refuse)


def test_parts_are_read_when_asked_for_and_once(monkeypatch):
    read = []
    monkeypatch.setattr(bases, "load_tokenizer", lambda path: read.append(path) or object())
    base = BaseModel.open("tiny")
    assert read == []
    assert base.tokenizer is base.tokenizer
    assert read == [base.path]


def test_a_handle_knows_what_its_folder_says(folder):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 5]}))
    base = BaseModel.open(str(folder))
    assert (base.context_length, base.num_embeddings) == (512, 280)
    assert base.eos_ids == {2, 5}
    assert base.digest == BaseModel.open("tiny").digest
    assert base.tokenizer_parts["ends"] == [2, 5]


def test_factors_are_known_without_loading_the_model(tiny, no_loading):
    modules = ["model.layers.1.mlp.up_proj", "model.layers.0.self_attn.q_proj"]
    assert list(shared_factors(tiny, modules, "float32", "gram")) == modules


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_factors_are_those_of_the_loaded_model(tiny, dtype):
    policy = attach_adapter(tiny.model(dtype), SvfAdapter(), seed=0)
    due = adapter_state(policy, 0).factors
    assert shared_factors(tiny, list(due), dtype, "gram") == due


def test_a_tied_head_is_read_from_the_model(tiny):
    ((name, weight_VN),) = base_weights(tiny, ["lm_head"])
    assert name == "lm_head"
    assert torch.equal(weight_VN, tiny.model().get_output_embeddings().weight)


def test_a_transposed_layer_is_turned(tmp_path, tiny):
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=16, n_positions=8))
    model.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    name = "transformer.h.0.mlp.c_fc"
    ((_, weight_MN),) = base_weights(BaseModel.open(str(tmp_path)), [name])
    assert torch.equal(weight_MN, model.get_submodule(name).weight.T)


def test_a_module_that_the_model_has_not_is_named(tiny):
    with pytest.raises(ModelError, match=r"base model 'tiny' must have .* it has no 'model\.none'"):
        list(base_weights(tiny, ["model.none"]))
