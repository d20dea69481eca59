"""SVF over an int8 base: exactly that base at z = 1, trained in float32, base untouched."""

import pytest
import torch
from peft import PeftModel, get_peft_model

from rlpeft.adapters import SvfConfig
from rlpeft.errors import ModelError

IDS = torch.tensor([[5, 9, 12, 7, 33, 2]])


def quantise(model):
    quantization = pytest.importorskip("torchao.quantization")
    quantization.quantize_(model.model.layers, quantization.Int8WeightOnlyConfig())
    return model


def test_a_fresh_adapter_is_the_quantised_base_exactly(llama):
    base = quantise(llama())
    before = base(IDS).logits.clone()
    assert torch.equal(get_peft_model(base, SvfConfig())(IDS).logits, before)


def test_it_trains_saves_and_loads(llama, perturb, tmp_path):
    policy = get_peft_model(quantise(llama()), SvfConfig())
    perturb(policy)
    policy(IDS).logits.square().mean().backward()
    for name, parameter in policy.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    policy.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(quantise(llama()), tmp_path)
    assert torch.equal(loaded(IDS).logits, policy(IDS).logits)


def test_it_bends_the_quantised_weight(llama, perturb):
    """Against the dequantised weight, decomposed and put together again in float64."""
    policy = get_peft_model(quantise(llama()), SvfConfig(target_modules=["q_proj"]))
    perturb(policy)
    layer = policy.base_model.model.model.layers[0].self_attn.q_proj
    weight = layer.base_layer.weight.dequantize().double()
    u, s, vt = torch.linalg.svd(weight)
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    expected = x.double() @ ((u * (s * layer.svf_z["default"].detach())) @ vt).T
    torch.testing.assert_close(layer(x).double(), expected, rtol=1e-4, atol=1e-4)


def test_merging_is_refused_with_the_reason(llama):
    policy = get_peft_model(quantise(llama()), SvfConfig())
    with pytest.raises(ModelError, match="unquantised"):
        policy.merge_adapter()
