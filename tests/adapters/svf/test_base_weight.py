"""What SVF keeps of a base weight follows that weight, whoever changes it and however."""

import copy

import pytest
import torch
from peft import get_peft_model
from torch import nn
from torch.testing import assert_close

from rlpeft.adapters import SvfConfig
from rlpeft.adapters.rows import RowVectors
from rlpeft.adapters.svf import SvfLinear
from rlpeft.errors import ModelError

SHAPES = {"output side": (20, 48), "input side": (48, 20), "wide": (6, 512)}
X = torch.randn(2, 3, 512, generator=torch.Generator().manual_seed(2))


def random_weight(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=SHAPES)
def layer(request):
    def make(form="dense", seed=0, bias=True):
        shape = SHAPES[request.param]
        linear = nn.Linear(shape[1], shape[0], bias=bias).requires_grad_(False)
        linear.weight.copy_(random_weight(shape, seed))
        made = SvfLinear(linear, "default", SvfConfig(form=form))
        z = 1 + 0.4 * torch.randn(min(shape), generator=torch.Generator().manual_seed(1))
        made.svf_z["default"].data = z
        return made

    return make


def x_for(layer):
    return X[..., : layer.in_features]


def expected(layer):
    """From scratch, in float64: the weight that is there now, decomposed and bent."""
    weight = layer.base_layer.weight.detach().double()
    u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    bent = (u * (s * layer.svf_z["default"].detach().double())) @ vt
    return x_for(layer).double() @ bent.T + layer.base_layer.bias.double()


def copy_in_place(weight):
    weight.copy_(random_weight(weight.shape, 9))


def write_data(weight):
    weight.data.copy_(random_weight(weight.shape, 9))


def scale_data(weight):
    weight.data *= 2


def write_one_column(weight):
    weight[:, 0] = 3.0


def other_storage(weight):
    weight.data = random_weight(weight.shape, 9)


def write_one_value(weight):
    """Of thousands, past PyTorch's count of writes, where no sample is taken."""
    weight.data[1, 3] += 30.0


CHANGES = [
    copy_in_place,
    write_data,
    scale_data,
    write_one_column,
    write_one_value,
    other_storage,
]


@pytest.mark.parametrize("form", ["dense", "factored", "auto"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_output_follows_a_change_of_the_base_weight(layer, form, change):
    made = layer(form)
    with torch.no_grad():
        before = made(x_for(made))
        change(made.base_layer.weight)
        after = made(x_for(made)).double()
    assert (after - before).abs().max() > 0.1
    assert_close(after, expected(made), atol=1e-3, rtol=1e-4)


def test_rows_follow_a_change_of_the_base_weight(layer):
    made = layer()
    z = made.svf_z["default"].detach().expand(2, -1)
    for _ in range(2):
        with torch.no_grad(), RowVectors([made], z):
            assert_close(made(x_for(made)).double(), expected(made), atol=1e-3, rtol=1e-4)
        made.base_layer.weight.data.copy_(random_weight(made.base_layer.weight.shape, 9))


def test_merging_and_the_change_follow_the_base_weight(layer):
    made = layer()
    made(x_for(made))
    scale_data(made.base_layer.weight)
    twice = made.base_layer.weight.clone()
    change = made.get_delta_weight("default")
    made.merge()
    assert_close(made(x_for(made)).double(), expected_of(made, twice), atol=1e-3, rtol=1e-4)
    assert_close(made.base_layer.weight - twice, change.detach(), atol=1e-5, rtol=1e-4)
    assert_close(made.get_delta_weight("default"), change)
    made.unmerge()
    assert torch.equal(made.base_layer.weight, twice)


def expected_of(layer, weight):
    twin = copy.deepcopy(layer)
    twin.merged_adapters, twin._unmerged = [], None
    twin.base_layer.weight.data = weight
    return expected(twin)


def test_a_move_keeps_the_factors_and_drops_what_was_built(layer):
    made = layer()
    exact, digest = made(x_for(made)), made.digest
    made.to(torch.bfloat16)
    assert_close(made(x_for(made).bfloat16()).float(), exact, atol=0.3, rtol=0.05)
    made.to(torch.float32)
    assert made(x_for(made)).dtype == torch.float32
    assert made.digest == digest


def test_a_merged_layer_that_was_moved_is_restored_where_it_is_now(layer):
    made = layer()
    before = made.base_layer.weight.clone()
    made.merge()
    made.to(torch.bfloat16)
    made.unmerge()
    assert torch.equal(made.base_layer.weight, before.bfloat16())


def test_what_was_built_in_inference_mode_serves_training_afterwards(layer):
    made = layer()
    x = x_for(made)
    with torch.inference_mode():
        first = made(x)
        with RowVectors([made], made.svf_z["default"].expand(2, -1)):
            made(x)
    loss = made(x).square().sum()
    loss.backward()
    assert_close(loss.detach(), first.square().sum())
    assert made.svf_z["default"].grad.abs().max() > 0


def test_copies_and_pickles_leave_out_what_can_be_computed(layer):
    made = layer()
    out = made(x_for(made))
    twin = copy.deepcopy(made)
    assert twin._bent is None
    assert torch.equal(twin(x_for(made)), out)


def test_hooks_of_the_base_layer_are_called(layer):
    made = layer()
    seen = []
    made.base_layer.register_forward_hook(lambda *_: seen.append(1))
    assert_close(made(x_for(made)).double(), expected(made), atol=1e-4, rtol=1e-4)
    assert seen


def test_a_base_without_weights_is_refused(llama):
    with pytest.raises(ModelError, match=r"weights.*meta"):
        get_peft_model(llama().to("meta"), SvfConfig())


class FalconLinear(nn.Linear):
    """As transformers' Falcon has it: a linear layer of its own class."""

    def forward(self, x):
        return x @ self.weight.T + self.bias


def test_a_linear_layer_of_another_class_merges(layer):
    plain = layer()
    linear = FalconLinear(plain.in_features, plain.out_features)
    linear.load_state_dict(plain.base_layer.state_dict())
    made = SvfLinear(linear, "default", SvfConfig())
    made.svf_z["default"].data = plain.svf_z["default"].data
    assert_close(made(x_for(made)).double(), expected(plain), atol=1e-4, rtol=1e-4)
    made.merge()
    assert_close(linear(x_for(made)).double(), expected(plain), atol=1e-4, rtol=1e-4)
