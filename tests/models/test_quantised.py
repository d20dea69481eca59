"""Bases that are quantised as they are loaded: what is refused before, and what is loaded."""

import pickle

import pytest
import torch

from rlpeft.adapters.linear import base_weights
from rlpeft.errors import ModelError
from rlpeft.models import quantised
from rlpeft.models.base import BaseModel
from rlpeft.models.load import load_base_model, load_config

TINY = BaseModel.open("tiny")


@pytest.fixture
def no_library(monkeypatch):
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)


def test_a_library_that_is_missing_is_told_before_any_weight_is_read(no_library, monkeypatch):
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    with pytest.raises(ModelError, match=r"'nf4' needs bitsandbytes.*rlpeft\[quantised\]"):
        load_base_model(TINY.path, quantisation="nf4")


def test_a_base_that_is_quantised_in_its_files_is_not_quantised_again():
    config = load_config(TINY.path)
    config.quantization_config = {"quant_method": "compressed-tensors"}
    with pytest.raises(ModelError, match=r"left out for a base that is quantised in its files"):
        quantised.require_quantisable(TINY.path, config, "int8")


def test_a_vision_tower_is_refused():
    base = BaseModel.open("tiny-vision")
    with pytest.raises(ModelError, match=r"for language models, .* has a vision tower"):
        quantised.require_quantisable(base.path, base.config, "int8")


def test_it_is_a_base_of_its_own():
    digests = {base.digest for base in (TINY, TINY.quantised("int8"), TINY.quantised("nf4"))}
    assert len(digests) == 3
    assert TINY.quantised(None) is TINY


def test_another_machine_opens_it_quantised_alike():
    sent = pickle.loads(pickle.dumps(TINY.quantised("int8").elsewhere))
    assert sent() == TINY.quantised("int8")


def test_weights_of_a_checkpoint_are_floats_before_its_first_product():
    config = load_config(TINY.path)
    config.quantization_config = {"quant_method": "compressed-tensors", "format": "dense"}
    told = quantised.loading(config, None, "float32")["config"].quantization_config
    assert told == {**config.quantization_config, "dequantize": True}
    assert "dequantize" not in config.quantization_config


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_int8_is_one_scale_a_row_and_the_nearest_whole_numbers(dtype):
    """By hand in fp64: half a step of max|W| / 127.5 a row, and what rounding the scale costs."""
    pytest.importorskip("torchao")
    plain, model = TINY.model(dtype), TINY.quantised("int8").model(dtype)
    for name in ("self_attn.q_proj", "mlp.down_proj"):
        weight_MN = plain.get_submodule(f"model.layers.1.{name}").weight.double()
        found = model.get_submodule(f"model.layers.1.{name}").weight
        step_M1 = weight_MN.abs().amax(1, keepdim=True) / 127.5
        eps = torch.finfo(getattr(torch, dtype)).eps
        bound = 0.5 * step_M1 + 2 * eps * weight_MN.abs().amax(1, keepdim=True) + step_M1 * eps
        # The largest number of a row would be 127.5, and is 127.
        assert ((found.dequantize().double() - weight_MN).abs() <= 1.01 * bound).all()
        assert found.qdata.dtype == torch.int8


def test_rows_of_a_layer_are_quantised_as_they_are_alone():
    """What lets an engine quantise q, k and v in one and hold the learner's numbers."""
    quantization = pytest.importorskip("torchao.quantization")
    fused = torch.nn.Sequential(torch.nn.Linear(128, 192, bias=False))
    parts = [torch.nn.Sequential(torch.nn.Linear(128, 96, bias=False)) for _ in range(2)]
    for part, rows_MN in zip(parts, fused[0].weight.data.split(96), strict=True):
        part[0].weight.data.copy_(rows_MN)
    for module in (fused, *parts):
        quantization.quantize_(module, quantised.torchao_config())
    whole = fused[0].weight.dequantize()
    assert torch.equal(whole, torch.cat([part[0].weight.dequantize() for part in parts]))


@pytest.mark.parametrize("quantisation", quantised.LIBRARIES)
def test_head_and_embedding_stay_as_they_are_and_one(quantisation):
    pytest.importorskip(quantised.LIBRARIES[quantisation])
    model = TINY.quantised(quantisation).model()
    assert type(model.lm_head.weight.data) is torch.Tensor
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


@pytest.mark.parametrize("quantisation", quantised.LIBRARIES)
def test_factors_are_those_of_what_the_weights_dequantise_to(quantisation):
    pytest.importorskip(quantised.LIBRARIES[quantisation])
    base, name = TINY.quantised(quantisation), "model.layers.0.mlp.up_proj"
    ((_, found_MN),) = base_weights(base, [name])
    layer = base.model().get_submodule(name)
    eye = torch.eye(128)
    torch.testing.assert_close(found_MN, layer(eye).T, rtol=1e-5, atol=1e-5)
    assert not torch.equal(found_MN, TINY.model().get_submodule(name).weight)


def test_gradients_flow_through_four_bits_after_a_product_without():
    pytest.importorskip("bitsandbytes")
    layer = TINY.quantised("nf4").model().get_submodule("model.layers.0.mlp.up_proj")
    with torch.no_grad():
        expected = layer(torch.eye(128)).T
    x = torch.ones(1, 128, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad[0], expected.sum(0), rtol=1e-4, atol=1e-4)


def test_int8_takes_a_quarter_of_the_bytes():
    pytest.importorskip("torchao")
    from rlpeft.doctor.memory import own_bytes

    plain, small = TINY.model().model.layers, TINY.quantised("int8").model().model.layers
    assert own_bytes(small) <= 0.27 * own_bytes(plain)
