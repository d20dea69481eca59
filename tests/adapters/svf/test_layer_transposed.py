"""SVF on layers that keep their weight transposed: GPT-2's Conv1D."""

import pytest
import torch
from peft import get_peft_model
from torch import nn
from torch.testing import assert_close
from transformers.pytorch_utils import Conv1D

from rlpeft.adapters import SvfConfig
from rlpeft.adapters.rows import RowVectors
from rlpeft.adapters.svf import SvfLinear

SHAPES = {"output side": (20, 48), "input side": (48, 20), "square": (24, 24)}


def random(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=SHAPES)
def layer(request):
    def make(form="auto"):
        rows, columns = SHAPES[request.param]
        base = Conv1D(rows, columns).requires_grad_(False)
        base.weight.copy_(random(columns, rows, seed=0))
        base.bias.copy_(random(rows, seed=3))
        made = SvfLinear(base, "default", SvfConfig(form=form))
        made.svf_z["default"].data = 1 + 0.4 * random(min(rows, columns), seed=1)
        return made

    return make


def inputs(layer):
    return random(2, 3, layer.in_features, seed=2)


def bent(layer, weight):
    """W', from scratch in float64, turned as the layer keeps its weight."""
    u, s, vt = torch.linalg.svd(weight.T.double(), full_matrices=False)
    return ((u * (s * layer.svf_z["default"].double())) @ vt).T


def expected(layer):
    base = layer.base_layer
    return inputs(layer).double() @ bent(layer, base.weight) + base.bias.double()


@pytest.mark.parametrize("form", ["auto", "dense", "factored"])
def test_a_transposed_layer_is_bent(layer, form):
    made = layer(form)
    assert_close(made(inputs(made)).double(), expected(made), atol=1e-4, rtol=1e-4)


def test_it_starts_as_the_base(layer):
    made = layer()
    made.svf_z["default"].data.fill_(1.0)
    assert_close(made(inputs(made)), made.base_layer(inputs(made)), atol=1e-5, rtol=1e-5)


def test_rows_of_a_transposed_layer_run_their_own_multipliers(layer):
    made = layer()
    with torch.no_grad(), RowVectors([made], made.svf_z["default"].expand(2, -1)):
        assert_close(made(inputs(made)).double(), expected(made), atol=1e-4, rtol=1e-4)


def test_its_merged_weight_and_its_change_are_turned_as_its_own(layer):
    made = layer()
    before = made.base_layer.weight.clone()
    change = made.get_delta_weight("default")
    assert_close(change.double(), bent(made, before) - before.double(), atol=1e-4, rtol=1e-4)
    made.merge()
    merged = made.base_layer.weight
    assert merged.is_contiguous()
    assert_close(merged.double(), bent(made, before), atol=1e-4, rtol=1e-4)
    assert_close(made.get_delta_weight("default"), change)
    made.unmerge()
    assert torch.equal(made.base_layer.weight, before)


@pytest.mark.parametrize("form", ["dense", "factored"])
def test_its_gradient_is_that_of_the_definition(layer, form):
    made = layer(form)
    made(inputs(made)).square().sum().backward()
    weight = made.base_layer.weight.T.double()
    u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    z = made.svf_z["default"].detach().double().requires_grad_()
    y = inputs(made).double() @ ((u * (s * z)) @ vt).T + made.base_layer.bias.double()
    y.square().sum().backward()
    assert_close(made.svf_z["default"].grad.double(), z.grad, atol=1e-2, rtol=1e-3)


def test_gpt2_merges_into_the_model_that_its_adapter_was(tiny_model, perturb):
    policy = perturb(get_peft_model(tiny_model("gpt2"), SvfConfig())).eval()
    ids = torch.tensor([[3, 4, 5, 6, 7]])
    with torch.no_grad():
        with policy.disable_adapter():
            base = policy(ids).logits
        adapted = policy(ids).logits
        merged = policy.merge_and_unload()
        assert not any(isinstance(module, SvfLinear) for module in merged.modules())
        assert_close(merged(ids).logits, adapted, atol=1e-4, rtol=1e-4)
    assert (adapted - base).abs().max() > 1e-2


def test_a_plain_layer_of_the_same_weight_has_the_same_factors(layer):
    made = layer()
    linear = nn.Linear(made.in_features, made.out_features).requires_grad_(False)
    linear.weight.copy_(made.base_layer.weight.T)
    assert SvfLinear(linear, "default", SvfConfig()).digest == made.digest
