"""The few-operation forms used in generation: what `bend` computes, and only where they may be."""

import pytest
import torch
from peft import get_peft_model
from torch import nn

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig
from rlpeft.adapters.lowrank.functional import image_rows

SCALES = (0.0, 1e-12, 1e-6, 1e-2, 1.0, 10.0, 1e3)
FUSED = {
    "hyplora": lambda: HypLoraConfig(r=8),
    "hyplora-none": lambda: HypLoraConfig(r=8, norm_mode="none"),
    "hyplora-unrestored": lambda: HypLoraConfig(r=8, restore_scale=False),
    "hyplora-flat": lambda: HypLoraConfig(r=8, curvature=0.0, learn_curvature=False),
    "moslora": lambda: MoSLoraConfig(r=12),
    "moslora-mlp": lambda: MoSLoraConfig(r=16, router="mlp"),
    "moslora-z": lambda: MoSLoraConfig(r=12, router="z"),
    "moslora-order": lambda: MoSLoraConfig(
        r=16, spaces=["spherical", "euclidean", "hyperbolic", "hyperbolic"]
    ),
    "moslora-curved": lambda: MoSLoraConfig(r=12, curvature=3.9),
}
PLAIN = {
    "boost": lambda: HypLoraConfig(r=8, variant="boost"),
    "unit": lambda: HypLoraConfig(r=8, norm_mode="unit"),
    "unbounded": lambda: HypLoraConfig(r=8, max_radius=None),
    "stereo": lambda: MoSLoraConfig(r=12, map="stereo"),
}


class One(nn.Module):
    """One linear layer."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(64, 48)

    def forward(self, x):
        return self.proj(x)


def layer_of(config, std, dtype=torch.float32):
    config.target_modules = {"proj"}
    layer = get_peft_model(One().to(dtype), config).base_model.model.proj.eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters_of("default"):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_((std * noise).to(parameter.dtype))
    return layer


def inputs(scale):
    return scale * torch.randn(5, 3, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("std", [0.02, 1.0])
@pytest.mark.parametrize("name", FUSED)
def test_generation_computes_what_training_does(name, std):
    layer = layer_of(FUSED[name](), std)
    # Beyond, a router's logits are so large that their own rounding decides its shares.
    for scale in [scale for scale in SCALES if std * scale <= 10]:
        with torch.no_grad():
            ours = layer.update(inputs(scale), "default")
        theirs = layer.update(inputs(scale), "default").detach()
        assert ours.isfinite().all()
        torch.testing.assert_close(ours, theirs, rtol=3e-6, atol=2e-6 * float(theirs.abs().max()))
    assert callable(layer.inference_terms("default"))


@pytest.mark.parametrize("name", FUSED)
def test_a_fresh_adapter_is_exactly_nothing_in_generation(name):
    layer = layer_of(FUSED[name](), 0.0)
    with torch.no_grad():
        assert layer.update(inputs(1.0), "default").eq(0).all()


@pytest.mark.parametrize("name", PLAIN)
def test_other_forms_go_the_long_way(name):
    layer = layer_of(PLAIN[name](), 0.02)
    with torch.no_grad():
        assert not callable(layer.inference_terms("default"))
        layer.update(inputs(1.0), "default")


@pytest.mark.parametrize("name", ["hyplora", "moslora"])
def test_half_precision_factors_keep_a_float32_gain(name):
    layer = layer_of(FUSED[name](), 0.02, torch.bfloat16)
    layer.to(torch.bfloat16)
    with torch.no_grad():
        assert not callable(layer.inference_terms("default"))


@pytest.mark.parametrize("name", ["hyplora", "moslora", "unit"])
def test_values_written_behind_autograd_are_taken_up_in_place(name):
    layer = layer_of((FUSED | PLAIN)[name](), 0.02)
    x = inputs(1.0)
    with torch.no_grad():
        first = layer.update(x, "default")
        kept = layer.inference_terms("default")
        for parameter in layer.parameters_of("default"):
            parameter.data.mul_(1.5)  # counts no version
        layer.renew()
        second = layer.update(x, "default")
        assert layer.inference_terms("default") is kept
        layer.clear_cache()
        torch.testing.assert_close(second, layer.update(x, "default"), rtol=0, atol=0)
    assert not torch.allclose(first, second)


def test_image_rows_have_the_norm_of_the_image_and_are_rounded_once():
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(6, 20, generator=generator)
    up = torch.randn(30, 6, generator=generator)
    x = torch.randn(9, 20, generator=generator, dtype=torch.float64)
    exact = image_rows(down.double(), up.double())
    image = x @ (up.double() @ down.double()).T
    torch.testing.assert_close((x @ exact.T).norm(dim=-1), image.norm(dim=-1), rtol=1e-9, atol=0)
    assert torch.equal(image_rows(down, up), exact.float())
