import math

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import nn

from rlpeft.adapters import MoSLoraConfig
from rlpeft.adapters.geometry import gain
from rlpeft.adapters.lowrank.functional import image_norm2
from rlpeft.adapters.moslora import SPACES, MoSLoraLinear, Space
from rlpeft.adapters.policy import peft_config
from rlpeft.errors import ConfigError, ModelError
from rlpeft.recipe.adapter import MoSLoraAdapter

N, M = 24, 20
PROMPT = torch.tensor([[5, 9, 12, 7, 33, 2], [8, 8, 41, 3, 59, 10]])


def layer_of(*, dtype=torch.float64, seed=0, uniform=True, **options):
    """A MoSLoRA layer with all factors drawn at random."""
    options = {"r": 12, "lora_alpha": 24.0} | options
    layer = MoSLoraLinear(nn.Linear(N, M), "default", MoSLoraConfig(**options), "layer").to(dtype)
    generator = torch.Generator().manual_seed(seed)
    names = ["moslora_A", "moslora_B", *([] if uniform else layer.router_names)]
    for name in names:
        for parameter in getattr(layer, name).values():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data = (noise / math.sqrt(parameter.shape[-1])).to(dtype)
    return layer


def tokens(count=30, *, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    return 3 * torch.randn(count, N, generator=generator, dtype=torch.float64).to(dtype)


def lora_update(layer, x):
    return 2.0 * (x @ layer.down("default").T) @ layer.up("default").T


@pytest.mark.parametrize("map_name", ["proj", "ambient", "stereo"])
@pytest.mark.parametrize("router", ["linear", "mlp", "z"])
def test_uniform_routing_in_flat_space_is_one_lora_of_all_factors(map_name, router):
    layer = layer_of(
        map=map_name, router=router, r=24, lora_alpha=48.0, learn_curvature=False, curvature=0.0
    )
    x = tokens()
    assert torch.allclose(layer.update(x, "default"), lora_update(layer, x), atol=1e-13)


@pytest.mark.parametrize("map_name", ["proj", "ambient", "stereo"])
def test_the_update_is_the_routed_sum_of_the_experts(map_name):
    layer = layer_of(map=map_name, uniform=False, learn_curvature=False, curvature=0.3)
    x, scale = tokens(), math.sqrt(N)
    logits = x / scale @ layer.moslora_router["default"].T + layer.moslora_router_bias["default"]
    shares = logits.softmax(-1)
    assert shares.std() > 0.01
    expected = torch.zeros(len(x), M, dtype=torch.float64)
    for e, kappa in enumerate((0.0, -0.3, 0.3)):
        a, b = layer.down("default").chunk(3, 0)[e], layer.up("default").chunk(3, 1)[e]
        small = x / scale
        image = small @ a.T @ b.T
        g = gain(
            small.square().sum(-1),
            image.square().sum(-1),
            layer.magnitudes("default")[0] * kappa / 0.3,
            map=map_name,
            max_radius=4.0,
        )
        expected += (2.0 * 3 * shares[:, e] * g * scale)[:, None] * image
    assert torch.allclose(layer.update(x, "default"), expected, atol=1e-12)


def test_the_mlp_router_has_a_silu_between_its_layers():
    layer = layer_of(router="mlp", r=24, uniform=False)
    x = tokens()
    inner, bias, outer, outer_bias = (getattr(layer, n)["default"] for n in layer.router_names)
    hidden = x / math.sqrt(N) @ inner.T + bias
    expected = (hidden * hidden.sigmoid() @ outer.T + outer_bias).softmax(-1)
    z = x @ layer.down("default").T
    _, record = layer.bend(x, z, layer.build_terms("default"), "default")
    assert torch.allclose(record.shares, expected, atol=1e-12)


def test_experts_of_different_spaces_differ():
    layer = layer_of(learn_curvature=False, curvature=1.0)
    x = tokens() / 10
    terms = layer.build_terms("default")
    _, record = layer.bend(x, x @ layer.down("default").T, terms, "default")
    flat, hyperbolic, spherical = record.gains
    assert torch.equal(flat, torch.ones_like(flat))
    assert (hyperbolic > 1).all()
    assert (spherical < 1).all()


@pytest.mark.parametrize(
    ("rank", "router", "expected", "parameters"),
    [
        (32, "linear", 10, 258053),
        (32, "mlp", 9, 253989),
        (32, "z", 10, 245855),
        (16, "linear", 4, None),
        (16, "mlp", 3, None),
        (16, "z", 5, None),
        (8, "linear", 2, None),
        (8, "mlp", 1, None),
        (8, "z", 2, None),
    ],
)
def test_experts_share_the_budget_of_a_lora(rank, router, expected, parameters):
    config = MoSLoraConfig(r=rank, router=router)
    shape = {"in_features": 4096, "out_features": 4096}
    assert config.expert_rank("layer", **shape) == expected
    layer = MoSLoraLinear(nn.Linear(4096, 4096, device="meta"), "default", config, "layer")
    trained = sum(p.numel() for p in layer.parameters() if p.requires_grad) - 4096 * 4097
    if parameters is not None:
        assert trained == parameters
    assert trained <= rank * 8192


@pytest.mark.parametrize("router", ["linear", "mlp", "z"])
@pytest.mark.parametrize("shape", [(128, 128), (512, 128), (64, 2048), (9, 1)])
def test_the_least_rank_is_the_first_that_every_expert_has_a_part_of(router, shape):
    inputs, outputs = shape
    least = MoSLoraConfig(router=router).least_rank(inputs, outputs)
    fits = {"in_features": inputs, "out_features": outputs}
    assert MoSLoraConfig(r=least, router=router).expert_rank("layer", **fits) == 1
    with pytest.raises(ConfigError, match="rank of at least 1"):
        MoSLoraConfig(r=least - 1, router=router).expert_rank("layer", **fits)


def test_a_recipes_rank_that_is_too_small_is_refused_by_the_models_skeleton(llama):
    adapter = MoSLoraAdapter(type="moslora", rank=4)
    with torch.device("meta"):
        skeleton = llama()
    with pytest.raises(ConfigError, match=r"adapter\.rank must be at least 6 for 3 .* got 4"):
        peft_config(adapter, skeleton)


def test_a_rank_too_small_for_the_experts_is_refused_by_module(llama):
    with pytest.raises(ConfigError, match=r"rank of at least 1.*r=2 for 'model\.layers\.0"):
        get_peft_model(llama(), MoSLoraConfig(r=2, target_modules="all-linear"))


def product_gain(norm2, z, gram_RR, kappas, map):
    """H x S: the first half of the rank is hyperbolic, the second spherical."""
    half = z.shape[-1] // 2
    parts = []
    for rows, kappa, sign in ((slice(0, half), kappas[0], -1), (slice(half, None), kappas[1], 1)):
        image2 = image_norm2(z[..., rows], gram_RR[rows, rows])
        part = gain(norm2, image2, kappa, map=map, sign=sign)
        parts.append(part.expand(*part.shape[:-1], z[..., rows].shape[-1]))
    return torch.cat(parts, -1)


def test_a_new_space_is_one_more_expert(llama, perturb, monkeypatch, tmp_path):
    monkeypatch.setitem(SPACES, "product", Space(signs=(-1, 1), gain=product_gain))
    config = MoSLoraConfig(spaces=["euclidean", "product"], r=12, target_modules="all-linear")
    model = perturb(get_peft_model(llama(), config)).train()
    (model(PROMPT).logits.square().mean() + model.base_model.auxiliary_loss()).backward()
    layer = next(model.base_model.adapted_layers())
    assert [k.item() > 0 for k in layer.kappas("default")[1]] == [False, True]
    assert (layer.moslora_curvature["default"].grad != 0).all()
    metrics = model.base_model.adapter_metrics()
    assert "gain/product/mean" in metrics
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(llama(), tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(loaded(PROMPT).logits, model.eval()(PROMPT).logits)


def test_a_space_may_come_twice(llama, perturb):
    config = MoSLoraConfig(spaces=["hyperbolic", "hyperbolic"], target_modules=["up_proj"])
    model = perturb(get_peft_model(llama(), config)).train()
    model(PROMPT)
    shares = {k for k in model.base_model.adapter_metrics() if k.startswith("router/share")}
    assert shares == {"router/share/hyperbolic", "router/share/hyperbolic.2"}


def balanced(llama, **options):
    config = MoSLoraConfig(
        target_modules=["up_proj"], curvature_reg=0.0, balance_coef=0.5, **options
    )
    return get_peft_model(llama(), config).train()


def test_the_balance_loss_is_least_where_experts_are_used_equally(llama):
    model = balanced(llama)
    model(PROMPT)
    assert model.base_model.auxiliary_loss().item() == pytest.approx(0.5, rel=1e-6)
    for layer in model.base_model.adapted_layers():
        layer.moslora_router_bias["default"].data[:] = torch.tensor([50.0, 0.0, 0.0])
    model(PROMPT)
    assert model.base_model.auxiliary_loss().item() == pytest.approx(1.5, rel=1e-6)


def test_the_balance_loss_trains_the_router_towards_balance(llama):
    model = balanced(llama)
    for layer in model.base_model.adapted_layers():
        layer.moslora_router_bias["default"].data[:] = torch.tensor([1.0, 0.0, 0.0])
    model(PROMPT)
    model.base_model.auxiliary_loss().backward()
    for layer in model.base_model.adapted_layers():
        gradient = layer.moslora_router_bias["default"].grad
        assert gradient[0] > 0
        assert (gradient[1:] < 0).all()


def test_the_auxiliary_loss_is_balance_plus_prior(llama):
    config = MoSLoraConfig(target_modules=["up_proj"], curvature_reg=2.0, balance_coef=0.5)
    model = get_peft_model(llama(), config)
    for layer in model.base_model.adapted_layers():
        layer.moslora_curvature["default"].data += 1.0
    moved = next(model.base_model.adapted_layers()).magnitudes("default")[0].item()
    model(PROMPT)
    expected = 0.5 + 2.0 * (moved - 0.25) ** 2
    assert model.base_model.auxiliary_loss().item() == pytest.approx(expected, rel=1e-5)


def test_padding_is_left_out_of_the_balance(llama, perturb):
    model = perturb(balanced(llama), std=0.5)
    model(PROMPT[:, :4])
    expected = model.base_model.auxiliary_loss().item()
    model(PROMPT)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]] * 2)
    assert model.base_model.auxiliary_loss(mask).item() == pytest.approx(expected, rel=1e-5)
    assert model.base_model.auxiliary_loss().item() != pytest.approx(expected, rel=1e-5)


def test_a_mask_of_another_forward_is_refused(llama):
    model = balanced(llama)
    model(PROMPT)
    with pytest.raises(ModelError, match=r"12 tokens.*got shape \(2, 5\)"):
        model.base_model.auxiliary_loss(torch.ones(2, 5))


def test_a_balance_loss_without_a_forward_is_refused(llama):
    model = balanced(llama)
    with pytest.raises(ModelError, match="forward with gradient before it"):
        model.base_model.auxiliary_loss()


def test_the_balance_is_also_seen_in_evaluation_mode(llama):
    model = balanced(llama).eval()
    model(PROMPT)
    assert model.base_model.auxiliary_loss().item() == pytest.approx(0.5, rel=1e-6)


def test_router_metrics_tell_entropy_and_shares(llama):
    model = balanced(llama)
    model(PROMPT)
    metrics = model.base_model.adapter_metrics()
    assert metrics["router/entropy"] == pytest.approx(math.log(3), rel=1e-5)
    assert metrics["router/share/spherical"] == pytest.approx(1 / 3, rel=1e-5)
    assert metrics["curvature/min"] == pytest.approx(-0.25, rel=1e-5)
    assert metrics["curvature/max"] == pytest.approx(0.25, rel=1e-5)


def test_gain_histograms_count_every_token_of_every_expert(llama, perturb):
    model = perturb(balanced(llama))
    model(PROMPT)
    histograms = model.base_model.gain_histograms()
    assert len(histograms) == 2 * 3
    assert all(sum(counts) == PROMPT.numel() for counts in histograms.values())
    flat = histograms["model.layers.0.mlp.up_proj/euclidean"]
    assert flat[4] == PROMPT.numel()


@pytest.mark.parametrize("map_name", ["proj", "ambient", "stereo"])
@pytest.mark.parametrize("router", ["linear", "mlp", "z"])
def test_gradients_agree_with_finite_differences(map_name, router):
    layer = layer_of(map=map_name, router=router, uniform=False, r=24)
    parameters = layer.parameters_of("default")
    inputs = [tokens(2).requires_grad_(), *parameters]

    def value(x, *_):
        return layer.update(x, "default")

    assert torch.autograd.gradcheck(value, inputs, atol=1e-6, fast_mode=True)


def test_float32_forward_is_within_a_millionth():
    x = tokens()
    for map_name in ("proj", "ambient", "stereo"):
        exact = layer_of(map=map_name, uniform=False).update(x, "default")
        single = layer_of(map=map_name, uniform=False, dtype=torch.float32)
        single = single.update(x.float(), "default")
        assert ((single.double() - exact).norm() / exact.norm()) < 1e-6


def test_outliers_far_outside_every_domain_stay_finite():
    for map_name in ("proj", "ambient", "stereo"):
        layer = layer_of(map=map_name, uniform=False, dtype=torch.float32)
        x = (1e4 * tokens(dtype=torch.float32)).requires_grad_()
        layer.up("default").data *= 100
        layer.update(x, "default").sum().backward()
        assert x.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in layer.parameters_of("default"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spaces": ["euclidean", "toroidal"]}, "spaces must be among .*got .*toroidal"),
        ({"spaces": []}, "spaces must be among"),
        ({"map": "mercator"}, r"map must be one of .*got 'mercator'"),
        ({"router": "top"}, "router must be one of"),
        ({"curvature": -0.5}, r"\|kappa\| between 0 and 100"),
        ({"curvature": 5.0}, "strictly between .* to be learned, got 5.0"),
        ({"balance_coef": -1.0}, "balance_coef must be at least 0"),
    ],
)
def test_impossible_options_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        MoSLoraConfig(**change)
