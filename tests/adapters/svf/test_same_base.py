"""An SVF adapter is held to the factors it was trained on, by PEFT's own loading too."""

import json
import warnings

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model

from rlpeft.adapters import SvfConfig
from rlpeft.adapters.svf.factors import weight_digest
from rlpeft.errors import ConfigError, ModelError

IDS = torch.tensor([[5, 9, 12, 7, 33, 2]])
Q = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def saved(llama, perturb, tmp_path):
    """The folder of an adapter of `llama()`, as PEFT writes it."""
    policy = get_peft_model(llama(), SvfConfig())
    perturb(policy)
    policy.save_pretrained(tmp_path)
    return tmp_path


def test_the_config_names_the_factors_of_each_module(saved, llama):
    factors = json.loads((saved / "adapter_config.json").read_text())["factors"]
    assert len(factors) == 14  # seven matrices in each of two layers
    assert factors[Q] == weight_digest(llama().get_submodule(Q).weight, "gram")


@pytest.mark.parametrize("is_trainable", [False, True])
def test_another_base_of_the_same_shape_is_refused(saved, llama, is_trainable):
    PeftModel.from_pretrained(llama(), saved, is_trainable=is_trainable)
    with pytest.raises(ModelError, match="trained on another base model: the factors of"):
        PeftModel.from_pretrained(llama(seed=1), saved, is_trainable=is_trainable)


def test_one_other_matrix_is_refused_by_name(saved, llama):
    base = llama()
    base.get_submodule(Q).weight.data[0, 0] += 1e-3
    with pytest.raises(ModelError, match=f"the factors of '{Q}'"):
        PeftModel.from_pretrained(base, saved)


def test_a_second_adapter_is_held_to_its_base(saved, llama):
    policy = get_peft_model(llama(seed=1), SvfConfig())
    with pytest.raises(ModelError, match="trained on another base model"):
        policy.load_adapter(str(saved), "other")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_base_that_was_rounded_in_training_is_known_in_float32(dtype, llama, tmp_path):
    get_peft_model(llama().to(dtype), SvfConfig()).save_pretrained(tmp_path)
    PeftModel.from_pretrained(llama(), tmp_path)
    with pytest.raises(ModelError, match="in the dtype that its files have or in float32"):
        PeftModel.from_pretrained(llama(seed=1), tmp_path)


def test_a_config_may_be_used_for_several_bases(llama, tmp_path):
    config = SvfConfig()
    get_peft_model(llama(), config)
    policy = get_peft_model(llama(seed=1), config)
    policy.save_pretrained(tmp_path)
    PeftModel.from_pretrained(llama(seed=1), tmp_path)


def test_a_file_from_before_this_loads_with_a_warning(saved, llama):
    file = saved / "adapter_config.json"
    tree = json.loads(file.read_text())
    del tree["factors"]
    file.write_text(json.dumps(tree))
    with pytest.warns(UserWarning, match="before its config named the factors"):
        policy = PeftModel.from_pretrained(llama(), saved)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert PeftModel.from_pretrained(llama(seed=1), saved) is not None
    assert torch.isfinite(policy(IDS).logits).all()


def test_other_quantised_weights_are_told_of(llama, tmp_path):
    quantization = pytest.importorskip("torchao.quantization")
    get_peft_model(llama(), SvfConfig()).save_pretrained(tmp_path)
    base = llama()
    quantization.quantize_(base.model.layers, quantization.Int8WeightOnlyConfig())
    with pytest.warns(UserWarning, match="has quantised weights, other than those"):
        PeftModel.from_pretrained(base, tmp_path)


@pytest.fixture
def former(llama, perturb, tmp_path):
    """A folder from before there was a choice of decompositions, and what its policy computed."""
    policy = get_peft_model(llama(), SvfConfig(decomposition="svd"))
    perturb(policy)
    policy.save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    tree = json.loads(file.read_text())
    del tree["decomposition"]
    file.write_text(json.dumps(tree))
    return tmp_path, policy(IDS).logits


def test_an_adapter_from_before_gram_matrices_is_what_it_was(former, llama):
    folder, logits = former
    policy = PeftModel.from_pretrained(llama(), folder)
    assert policy.peft_config["default"].decomposition == "svd"
    assert torch.equal(policy(IDS).logits, logits)


def test_a_config_from_before_is_known_at_each_of_pefts_doors(former):
    assert PeftConfig.from_pretrained(former[0]).decomposition == "svd"
    assert SvfConfig().decomposition == "gram"


def test_adapters_of_two_decompositions_do_not_share_a_model(former, llama):
    policy = get_peft_model(llama(), SvfConfig())
    with pytest.raises(ConfigError, match=r"those here are of decomposition 'gram', .* 'svd'"):
        policy.load_adapter(str(former[0]), "other")


def test_an_unknown_decomposition_is_refused():
    with pytest.raises(ConfigError, match=r"decomposition must be one of \('gram', 'svd'\)"):
        SvfConfig(decomposition="qr")
