import math

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from rlpeft.adapters import HypLoraConfig
from rlpeft.adapters.geometry import saturation
from rlpeft.adapters.hyplora import HypLoraLinear
from rlpeft.adapters.lowrank.functional import gram, image_norm2
from rlpeft.errors import ConfigError

N, M, R = 24, 20, 6


def layer_of(*, dtype=torch.float64, seed=0, **options):
    """A HypLoRA layer with all factors drawn at random, in the given dtype."""
    generator = torch.Generator().manual_seed(seed)
    options = {"r": R, "lora_alpha": 2.0 * R, "learn_curvature": False} | options
    layer = HypLoraLinear(nn.Linear(N, M), "default", HypLoraConfig(**options), "layer").to(dtype)
    for factor in (layer.hyplora_A["default"], layer.hyplora_B["default"]):
        noise = torch.randn(factor.shape, generator=generator, dtype=torch.float64)
        factor.data = (noise / math.sqrt(factor.shape[1])).to(dtype)
    return layer


def tokens(count=40, *, largest=6.0, dtype=torch.float64):
    """[count, N] with norms from 0 to `largest`."""
    x = torch.randn(count, N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    norms = torch.linspace(0, largest, count, dtype=torch.float64)[:, None]
    return (x / x.norm(dim=-1, keepdim=True) * norms).to(dtype)


def exp0(x, radius):
    """(time, space) of exp at the origin of the hyperboloid <z, z> = -radius²."""
    norm = x.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    return radius * torch.cosh(norm / radius), radius * torch.sinh(norm / radius) * x / norm


def log0(space, radius):
    norm = space.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    return radius * torch.asinh(norm / radius) * space / norm


@pytest.mark.parametrize("radius", [0.5, 1.0, 3.0])
def test_rotation_is_the_low_rank_map_between_exp_and_log(radius):
    layer = layer_of(norm_mode="none", curvature=-1 / radius**2, max_radius=None)
    x = tokens()
    _, space = exp0(x, radius)
    mapped = space @ layer.down("default").T @ layer.up("default").T
    assert torch.allclose(layer.update(x, "default"), 2.0 * log0(mapped, radius), atol=1e-12)


def boost_update(layer, x, radius):
    time, space = exp0(x, radius)
    a, b = layer.hyplora_A["default"], layer.hyplora_B["default"]
    middle = torch.cat([space, time - radius], -1) @ a.T
    middle_time = (middle.square().sum(-1, keepdim=True) + radius**2).sqrt() - radius
    return 2.0 * log0(torch.cat([middle, middle_time], -1) @ b.T, radius)


@pytest.mark.parametrize("radius", [0.5, 1.0, 3.0])
def test_boost_also_maps_the_time_coordinates_counted_from_the_origin(radius):
    layer = layer_of(variant="boost", norm_mode="none", curvature=-1 / radius**2, max_radius=8.0)
    x = tokens(largest=5.9 * radius)
    assert torch.allclose(layer.update(x, "default"), boost_update(layer, x, radius), atol=1e-11)


def test_boost_shortens_inputs_beyond_the_largest_radius():
    layer = layer_of(variant="boost", norm_mode="none", curvature=-1.0, max_radius=2.0)
    x = tokens(largest=30.0)[1:]
    shorter = x * saturation(x.square().sum(-1, keepdim=True), limit=2.0)
    assert torch.allclose(layer.update(x, "default"), boost_update(layer, shorter, 1.0), atol=1e-12)


@pytest.mark.parametrize("variant", ["rotation", "boost"])
@pytest.mark.parametrize("norm_mode", ["none", "scale", "unit"])
def test_zero_curvature_is_lora_with_the_same_alpha(variant, norm_mode):
    layer = layer_of(variant=variant, norm_mode=norm_mode, curvature=0.0)
    x = tokens()[1:]
    lora = 2.0 * (x @ layer.down("default").T) @ layer.up("default")[:, :R].T
    assert torch.allclose(layer.update(x, "default"), lora, atol=1e-13)


def test_zero_curvature_is_peft_lora_bit_for_bit(llama, perturb):
    ids = torch.tensor([[5, 9, 12, 7, 33]])
    ours = get_peft_model(
        llama(), HypLoraConfig(r=4, lora_alpha=8, curvature=0.0, learn_curvature=False)
    ).eval()
    targets = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]
    lora = get_peft_model(llama(), LoraConfig(r=4, lora_alpha=8, target_modules=targets)).eval()
    perturb(lora)
    theirs = dict(lora.named_parameters())
    for name, parameter in ours.named_parameters():
        if "hyplora_A" in name or "hyplora_B" in name:
            parameter.data = theirs[f"{name.replace('hyplora_', 'lora_')}.weight"].data.clone()
    assert torch.equal(ours(ids).logits, lora(ids).logits)


def test_an_unrestored_scale_divides_the_update():
    """The public code's form: its flat limit is LoRA with scaling alpha / (r s)."""
    layer = layer_of(norm_mode="scale", restore_scale=False, curvature=0.0)
    x = tokens()
    lora = 2.0 * (x @ layer.down("default").T) @ layer.up("default").T
    assert torch.allclose(layer.update(x, "default"), lora / math.sqrt(N), atol=1e-7)


def test_unit_norm_mode_sees_the_direction_alone():
    layer = layer_of(norm_mode="unit", restore_scale=False)
    x = tokens()[5:]
    assert torch.allclose(layer.update(x, "default"), layer.update(7 * x, "default"), atol=1e-12)


def test_the_radius_of_unit_mode_is_at_most_ten():
    layer, x = layer_of(norm_mode="unit", max_radius=None), tokens()[5:]
    layer.hyplora_scale["default"].data.fill_(math.log(10))
    at_ten = layer.update(x, "default")
    layer.hyplora_scale["default"].data.fill_(5.0)
    assert torch.equal(layer.update(x, "default"), at_ten)
    layer.hyplora_scale["default"].data.fill_(1.0)
    assert not torch.allclose(layer.update(x, "default"), at_ten, rtol=1e-3)


def test_a_zero_vector_has_a_zero_update_and_finite_gradients():
    for variant in ("rotation", "boost"):
        for norm_mode in ("none", "scale", "unit"):
            for restore in (True, False):
                layer = layer_of(
                    variant=variant, norm_mode=norm_mode, restore_scale=restore, dtype=torch.float32
                )
                x = torch.zeros(2, N, requires_grad=True)
                update = layer.update(x, "default")
                update.sum().backward()
                assert x.grad.isfinite().all()
                if not (variant == "boost" and norm_mode == "unit"):
                    assert torch.equal(update, torch.zeros(2, M))


def test_at_the_start_the_gradient_of_b_is_loras_times_the_stretch():
    layer = layer_of(norm_mode="none", curvature=-1.0, max_radius=None)
    layer.up("default").data.zero_()
    x = tokens(5, largest=2.0)[1:]
    dy = torch.randn(4, M, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    update = layer.update(x, "default")
    assert torch.equal(update, torch.zeros_like(update))
    update.backward(dy)
    norm = x.norm(dim=-1, keepdim=True)
    stretched = torch.sinh(norm) / norm * (x @ layer.down("default").T)
    assert torch.allclose(layer.up("default").grad, 2.0 * dy.T @ stretched, atol=1e-12)


def test_gradients_agree_with_finite_differences():
    for options in ({}, {"variant": "boost"}, {"norm_mode": "unit"}, {"restore_scale": False}):
        layer = layer_of(learn_curvature=True, **options)
        names = ("hyplora_A", "hyplora_B", "hyplora_curvature", "hyplora_scale")
        inputs = [tokens(3, largest=9.0)[1:].requires_grad_()]
        inputs += [getattr(layer, name)["default"] for name in names]

        def value(x, *parameters, layer=layer):
            return layer.update(x, "default")

        assert torch.autograd.gradcheck(value, inputs, atol=1e-6, fast_mode=True)


def relative_error(got, expected):
    return ((got.double() - expected).norm() / expected.norm()).item()


@pytest.fixture(scope="module")
def wide_layer():
    """d = 1024, r = 16, K = 1, and 64 tokens of norm about 2, in float64."""
    generator = torch.Generator().manual_seed(0)
    config = HypLoraConfig(
        r=16, lora_alpha=16, norm_mode="none", curvature=-1.0, learn_curvature=False
    )
    layer = HypLoraLinear(nn.Linear(1024, 1024), "default", config, "layer").double()
    for factor in (layer.down("default"), layer.up("default")):
        noise = torch.randn(factor.shape, generator=generator, dtype=torch.float64)
        factor.data = noise / math.sqrt(1024)
    return layer, 2 * torch.randn(64, 1024, generator=generator, dtype=torch.float64) / 32


def test_float32_forward_is_within_a_millionth(wide_layer):
    layer, x = wide_layer
    exact = layer.update(x, "default")
    single = layer.float().update(x.float(), "default")
    layer.double()
    assert relative_error(single, exact) < 1e-6


def test_bfloat16_forward_is_within_twice_the_error_of_lora(wide_layer):
    layer, x = wide_layer
    exact = layer.update(x, "default")
    down, up = layer.down("default"), layer.up("default")
    lora_exact = x @ down.T @ up.T
    lora_half = x.bfloat16() @ down.bfloat16().T @ up.bfloat16().T
    half = layer.bfloat16().update(x.bfloat16(), "default")
    layer.double()
    assert relative_error(half, exact) < 2 * relative_error(lora_half, lora_exact)
    assert relative_error(half, exact) < 6e-3


def test_autocast_does_not_reach_the_gain(wide_layer):
    layer, _ = wide_layer
    layer, z = layer.float(), torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        matrix = gram(layer.up("default"))
        image2 = image_norm2(z, matrix)
    expected = (z.double() @ layer.up("default").double().T).square().sum(-1, keepdim=True)
    layer.double()
    assert matrix.dtype == image2.dtype == torch.float32
    assert relative_error(image2, expected) < 1e-6


def test_outlier_tokens_have_a_bounded_gain():
    gains = {}
    for max_radius in (4.0, None):
        layer = layer_of(norm_mode="none", max_radius=max_radius)
        layer.up("default").data *= 1e-6
        x = tokens(20, largest=500.0)[1:]
        lora = 2.0 * (x @ layer.down("default").T) @ layer.up("default").T
        gains[max_radius] = layer.update(x, "default").norm(dim=-1) / lora.norm(dim=-1)
    assert gains[4.0].max() < math.sinh(4) / 4
    assert gains[None].max() > 1000


def test_learned_curvature_starts_where_asked_and_stays_in_bounds():
    layer = layer_of(learn_curvature=True, curvature=-0.5, curvature_bounds=(0.1, 2.0))
    assert layer.kappa("default").item() == pytest.approx(-0.5, abs=1e-6)
    for logit, bound in ((-1e3, -0.1), (1e3, -2.0)):
        layer.hyplora_curvature["default"].data.fill_(logit)
        assert layer.kappa("default").item() == pytest.approx(bound, abs=1e-6)


def test_a_fixed_curvature_is_not_trained_and_comes_back_exactly(llama, tmp_path):
    config = HypLoraConfig(curvature=-0.37, learn_curvature=False, target_modules=["q_proj"])
    model = get_peft_model(llama(), config)
    assert not any(p.requires_grad for n, p in model.named_parameters() if "curvature" in n)
    model.set_adapter("default")
    assert not any(p.requires_grad for n, p in model.named_parameters() if "curvature" in n)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(llama(), tmp_path, is_trainable=True)
    for layer in loaded.base_model.adapted_layers():
        assert layer.kappa("default").item() == torch.tensor(-0.37).item()
        assert not layer.hyplora_curvature["default"].requires_grad


def test_the_curvature_prior_pulls_back_to_the_start(llama):
    config = HypLoraConfig(curvature=-1.0, curvature_reg=0.5, target_modules=["q_proj"])
    model = get_peft_model(llama(), config)
    assert model.base_model.auxiliary_loss().item() == pytest.approx(0, abs=1e-12)
    layers = list(model.base_model.adapted_layers())
    layers[0].hyplora_curvature["default"].data += 1.0
    moved = layers[0].kappa("default").item()
    loss = model.base_model.auxiliary_loss()
    assert loss.item() == pytest.approx(0.5 * (moved + 1.0) ** 2 / len(layers), rel=1e-5)
    loss.backward()
    assert layers[0].hyplora_curvature["default"].grad.item() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "twist"}, r"variant must be one of \('rotation', 'boost'\), got 'twist'"),
        ({"norm_mode": "l1"}, "norm_mode must be one of"),
        ({"curvature": 1.0}, r"between -100 and 0 .*got 1.0"),
        ({"curvature": float("nan")}, "between -100 and 0"),
        ({"curvature": 0.0}, "strictly between .* to be learned, got"),
        ({"curvature": -9.0}, "strictly between .* to be learned, got 9.0"),
        ({"max_radius": 12.0}, "max_radius must be in"),
        ({"max_radius": None, "variant": "boost"}, "max_radius must be given"),
    ],
)
def test_impossible_options_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        HypLoraConfig(**change)
