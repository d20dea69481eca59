"""Over a quantised base: the adapter trains in float32 and never touches the base weights."""

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import nn

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig

IDS = torch.tensor([[5, 9, 12, 7, 33, 2]])


def to_torchao(model):
    quantization = pytest.importorskip("torchao.quantization")
    quantization.quantize_(model.model.layers, quantization.Int8WeightOnlyConfig())
    return model


def to_bitsandbytes(model):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    for module in list(model.model.layers.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                quantised = bitsandbytes.nn.Linear8bitLt(
                    child.in_features, child.out_features, bias=False, has_fp16_weights=False
                )
                quantised.weight = bitsandbytes.nn.Int8Params(
                    child.weight.data, requires_grad=False, has_fp16_weights=False
                )
                setattr(module, name, quantised.to("cpu"))
    return model


@pytest.fixture(params=[to_torchao, to_bitsandbytes])
def quantised(request, llama):
    return lambda: request.param(llama())


@pytest.mark.parametrize("config_class", [HypLoraConfig, MoSLoraConfig])
def test_an_adapter_over_int8_weights_trains_saves_and_loads(
    quantised, config_class, perturb, tmp_path
):
    base = quantised()
    expected = base(IDS).logits
    model = get_peft_model(base, config_class(target_modules="all-linear", r=16))
    assert torch.equal(model(IDS).logits, expected)
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    perturb(model)
    loss = model(IDS).logits.square().mean() + model.base_model.auxiliary_loss()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    with model.disable_adapter():
        assert torch.equal(model(IDS).logits, expected)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(quantised(), tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, model.eval()(IDS).logits)
