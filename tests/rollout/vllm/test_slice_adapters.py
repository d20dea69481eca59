"""Slices against the PEFT layers they stand for. No vLLM is needed."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from rlpeft.adapter_state import tensors_digest
from rlpeft.adapters import HypLoraConfig, MoSLoraConfig, SvfConfig
from rlpeft.adapters.svf import SvfLinear
from rlpeft.adapters.svf.factors import Factors, factorise, weight_digest
from rlpeft.errors import EngineError
from rlpeft.rollout.growth import check_growth
from rlpeft.rollout.vllm.adapted_linear import AdaptedLinear
from rlpeft.rollout.vllm.matmul import Plain
from rlpeft.rollout.vllm.peft_config import make_slice, read_config
from rlpeft.rollout.vllm.slice_adapters import Form
from rlpeft.rollout.vllm.svf_slice import SvfSlice

SIZES = {"q": 8, "k": 4, "up": 24}  # as wide as, narrower and wider than the input
WIDTH = 8


class Parts(nn.Module):
    """Three linear layers with biases that an engine would fuse."""

    def __init__(self) -> None:
        super().__init__()
        for name, size in SIZES.items():
            setattr(self, name, nn.Linear(WIDTH, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([getattr(self, name)(x) for name in SIZES], -1)


CONFIGS = {
    "svf": SvfConfig(target_modules=["q", "k", "up"]),
    "svf sigmoid": SvfConfig(target_modules=["q", "up"], parametrisation="sigmoid_renorm"),
    "lora": LoraConfig(target_modules=["q", "up"], r=3, lora_alpha=5),
    "rslora": LoraConfig(
        target_modules=["q", "k"], r=3, use_rslora=True, rank_pattern={"k": 2}, lora_alpha=5
    ),
    "dora": LoraConfig(target_modules=["q", "up"], r=3, use_dora=True),
    "ia3": IA3Config(target_modules=["k", "up"], feedforward_modules=["up"]),
}
GEOMETRIC = {
    "hyplora": HypLoraConfig(target_modules=["q", "up"], r=3),
    "hyplora boost": HypLoraConfig(target_modules=["q", "k"], r=3, variant="boost"),
    "moslora": MoSLoraConfig(target_modules=["q", "up"], r=6),
}


def random_policy(config: PeftConfig) -> nn.Module:
    torch.manual_seed(0)
    policy = get_peft_model(Parts(), config)
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad:
            start = parameter.data if "magnitude" in name or "svf" in name else 0
            parameter.data = start + 0.3 * torch.randn(parameter.shape)
    return policy


def fused_layer(
    policy: nn.Module,
    *,
    form: Form = "factored",
    dtype: torch.dtype = torch.float32,
    is_quantised: bool = False,
) -> AdaptedLinear:
    """The engine's layer for `policy`, without its adapter values.

    Args:
        is_quantised: of a base whose weight only its product knows.
    """
    config = read_config(asdict(policy.peft_config["default"]))
    parts = {name: getattr(policy.base_model.model, name) for name in SIZES}
    bases = [getattr(part, "base_layer", part) for part in parts.values()]
    weight = torch.cat([base.weight.detach().to(dtype) for base in bases])
    product = Plain(weight) if is_quantised else None
    if is_quantised:
        weight = torch.full((1, 1), torch.nan, dtype=dtype).expand(weight.shape)
    sizes = list(SIZES.values())
    adapters = [
        make_slice(config, name, rows_MN, form=form) if hasattr(part, "base_layer") else None
        for (name, part), rows_MN in zip(parts.items(), weight.split(sizes), strict=True)
    ]
    return AdaptedLinear(
        weight, names=list(SIZES), sizes=sizes, adapters=adapters, form=form, product=product
    )


def fused_bias(policy: nn.Module) -> torch.Tensor:
    parts = [getattr(policy.base_model.model, name) for name in SIZES]
    return torch.cat([getattr(part, "base_layer", part).bias.detach() for part in parts])


def send(policy: nn.Module, layer: AdaptedLinear, **changed: torch.Tensor) -> str:
    pytest.importorskip("vllm")
    from rlpeft.rollout.vllm.values import load_values

    values = get_peft_model_state_dict(policy, save_embedding_layers=False)
    digests = {
        name.removeprefix("base_model.model."): module.digest
        for name, module in policy.named_modules()
        if isinstance(module, SvfLinear)
    }
    return load_values([layer], save({**values, **changed}), digests)


@pytest.mark.parametrize("form", ["factored", "spectral", "dense"])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_a_fused_layer_computes_what_the_peft_layers_do(name: str, form: Form) -> None:
    policy = random_policy(CONFIGS[name])
    layer = fused_layer(policy, form=form)
    layer(torch.randn(5, WIDTH))  # products of the start are packed now, and must not be used below
    send(policy, layer)
    x = torch.randn(5, WIDTH)
    bent = layer(x, fused_bias(policy))
    torch.testing.assert_close(bent, policy(x), atol=1e-5, rtol=1e-5)
    with policy.disable_adapter():
        assert (bent - policy(x)).abs().max() > 0.05


@pytest.mark.parametrize("name", sorted({*CONFIGS, *GEOMETRIC} - {"dora"}))
@torch.no_grad()
def test_an_adapter_on_a_quantised_base_needs_nothing_of_it_but_its_product(name: str) -> None:
    policy = random_policy((CONFIGS | GEOMETRIC)[name])
    layer = fused_layer(policy, is_quantised=True)
    x = torch.randn(5, WIDTH)
    layer(x)
    send(policy, layer)
    torch.testing.assert_close(layer(x, fused_bias(policy)), policy(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_an_adapter_that_reads_a_weight_that_is_not_there_says_so_in_its_numbers() -> None:
    """DoRA's norms. Why `check_quantised` refuses it, and how any other would be found."""
    policy = random_policy(CONFIGS["dora"])
    layer = fused_layer(policy, is_quantised=True)
    send(policy, layer)
    assert layer(torch.randn(5, WIDTH)).isnan().any()


@pytest.mark.parametrize("name", [*CONFIGS, *GEOMETRIC])
def test_an_adapter_in_a_model_of_half_precision_takes_its_values_in_float32(name: str) -> None:
    """vLLM builds layers under the model's dtype as torch's default."""
    policy = random_policy((CONFIGS | GEOMETRIC)[name])
    torch.set_default_dtype(torch.bfloat16)
    try:
        layer = fused_layer(policy)
    finally:
        torch.set_default_dtype(torch.float32)
    values = get_peft_model_state_dict(policy, save_embedding_layers=False)
    assert send(policy, layer) == tensors_digest(values)


@pytest.mark.parametrize("name", GEOMETRIC)
@torch.no_grad()
def test_a_geometric_adapter_computes_what_its_peft_layer_does(name: str) -> None:
    policy = random_policy(GEOMETRIC[name])
    layer = fused_layer(policy)
    x = torch.randn(5, WIDTH)
    layer(x)  # terms of the start are cached now, and must not be used below
    send(policy, layer)
    bent = layer(x, fused_bias(policy))
    torch.testing.assert_close(bent, policy(x), atol=1e-5, rtol=1e-5)
    with policy.disable_adapter():
        assert (bent - policy(x)).abs().max() > 0.05


class Products(TorchDispatchMode):
    """Notes the dtypes of products with something as wide as the model."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm):
            factors = [a for a in args if isinstance(a, torch.Tensor) and a.ndim > 1]
            if max(max(a.shape) for a in factors) >= WIDTH:
                self.dtypes |= {a.dtype for a in factors}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [*CONFIGS, *GEOMETRIC])
@torch.no_grad()
def test_products_are_in_the_dtype_of_the_model(name: str) -> None:
    policy = random_policy((CONFIGS | GEOMETRIC)[name])
    half = fused_layer(policy, dtype=torch.bfloat16)
    send(policy, half)
    x = torch.randn(5, WIDTH)
    half(x.bfloat16())  # norms of factors are taken once, in float32
    with Products() as products:
        found = half(x.bfloat16(), fused_bias(policy).bfloat16())
    assert products.dtypes == {torch.bfloat16}
    torch.testing.assert_close(found.float(), policy(x), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("form", ["factored", "dense"])
@torch.no_grad()
def test_z_of_one_is_the_base_bit_for_bit(form: Form) -> None:
    policy = random_policy(CONFIGS["svf"])
    layer = fused_layer(policy, form=form)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data.fill_(1.0)
    send(policy, layer)
    x = torch.randn(5, WIDTH)
    for span in layer.spans:
        rows = layer.weight[span]
        assert torch.equal(layer(x)[:, span], nn.functional.linear(x, rows)) or torch.equal(
            layer(x)[:, span], nn.functional.linear(x, layer.weight)[:, span]
        )


@torch.no_grad()
def test_z_of_one_in_the_spectral_form_is_the_base_to_fp32_rounding() -> None:
    """Singular vectors that are not quite orthogonal must not bend the base: C is B⁻¹ W."""
    weight = torch.randn(24, 40)
    spectral = SvfSlice(weight, parametrisation="direct", is_spectral=True)
    basis = torch.linalg.qr(torch.randn(24, 24))[0] + 1e-3 * torch.randn(24, 24)
    spectral.take_factors(Factors(basis, torch.ones(24), True, "d"))
    x = torch.randn(7, 40)
    held = spectral.in_coordinates(weight)
    found = spectral.apply(x, lambda inputs: nn.functional.linear(inputs, held))
    torch.testing.assert_close(found, nn.functional.linear(x, weight), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("form", ["factored", "spectral"])
@torch.no_grad()
def test_each_token_runs_the_expert_of_its_slot(form: Form) -> None:
    """Slot 1, the current policy, slot 0: each against a dense layer of its own."""
    policy = random_policy(CONFIGS["svf"])
    slots_T = torch.tensor([1, -1, 0])
    layer = fused_layer(policy, form=form)
    for adapter in layer.adapters:
        if isinstance(adapter, SvfSlice):
            adapter.take_experts(2, lambda num_tokens: slots_T[:num_tokens] + 1)
    send(policy, layer)
    generator = torch.Generator().manual_seed(5)
    experts = []
    for slot in range(2):
        z = {
            name: 1 + 0.3 * torch.randn(adapter.tensors["svf_z"].shape, generator=generator)
            for name, adapter in zip(layer.names, layer.adapters, strict=True)
            if isinstance(adapter, SvfSlice)
        }
        for name, z_R in z.items():
            layer.adapter(name).set_expert(slot, z_R)  # type: ignore[attr-defined]
        experts.append(z)
    x = torch.randn(3, WIDTH)
    found = layer(x)
    for token, slot in enumerate(slots_T.tolist()):
        alone = fused_layer(policy, form="dense")
        changed = (
            {}
            if slot < 0
            else {f"base_model.model.{name}.svf_z": z for name, z in experts[slot].items()}
        )
        send(policy, alone, **changed)
        torch.testing.assert_close(found[token], alone(x)[token], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("direction", [0, 1, 2])
def test_an_expert_grows_by_its_multiplier_whatever_the_singular_value(direction: int) -> None:
    adapter = SvfSlice(torch.eye(3), parametrisation="direct")
    adapter.singular_values_R.copy_(torch.tensor([4.0, 1e-4, 0.0]))
    z_R = torch.ones(3)
    z_R[direction] = -100
    check_growth({"q": adapter.growth(z_R)})
    for size in (101.0, 3e38, torch.inf):
        z_R[direction] = size
        with pytest.raises(EngineError, match="'q' becomes"):
            check_growth({"q": adapter.growth(z_R)})


def test_the_digest_is_that_of_the_values_sent() -> None:
    policy = random_policy(CONFIGS["svf"])
    values = get_peft_model_state_dict(policy, save_embedding_layers=False)
    assert send(policy, fused_layer(policy)) == tensors_digest(values)


def test_values_are_written_in_place() -> None:
    policy = random_policy(CONFIGS["svf"])
    layer = fused_layer(policy, form="dense")
    before = [layer.adapter("q").tensors["svf_z"].data_ptr(), layer.bent.data_ptr()]  # type: ignore[union-attr]
    send(policy, layer)
    assert before == [layer.adapter("q").tensors["svf_z"].data_ptr(), layer.bent.data_ptr()]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"base_model.model.v.svf_z": torch.ones(8)}, "must have a place"),
        ({"base_model.model.q.svf_z": torch.ones(7)}, "shape"),
        ({"base_model.model.q.svf_z": torch.ones(8, dtype=torch.bfloat16)}, "bfloat16"),
        ({"base_model.model.q.svf_z": torch.full((8,), float("nan"))}, "finite"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_is_written(
    changed: dict[str, torch.Tensor], message: str
) -> None:
    policy = random_policy(CONFIGS["svf"])
    layer = fused_layer(policy)
    with pytest.raises(EngineError, match=message):
        send(policy, layer, **changed)
    assert torch.equal(layer.adapter("k").tensors["svf_z"], torch.ones(4))


def test_a_layer_without_values_is_named() -> None:
    pytest.importorskip("vllm")
    from rlpeft.rollout.vllm.values import load_values

    policy = random_policy(CONFIGS["svf"])
    values = get_peft_model_state_dict(policy, save_embedding_layers=False)
    del values["base_model.model.k.svf_z"]
    with pytest.raises(EngineError, match=r"1 got none: base_model\.model\.k\.svf_z"):
        load_values([fused_layer(policy)], save(values), {})


def test_factors_are_never_computed_by_the_engine() -> None:
    pytest.importorskip("vllm")
    from rlpeft.rollout.vllm.values import load_values

    policy = random_policy(CONFIGS["svf"])
    payload = save(get_peft_model_state_dict(policy, save_embedding_layers=False))
    layer = fused_layer(policy)
    with pytest.raises(EngineError, match="must name the factors of 'q'"):
        load_values([layer], payload, {})
    with pytest.raises(EngineError, match=r"factors of 'q' \(sha256 0000\)"):
        load_values([layer], payload, {"q": "0000", "k": "0000", "up": "0000"})


def test_a_cache_with_factors_of_another_decomposition_is_no_cache_of_these() -> None:
    pytest.importorskip("vllm")
    from rlpeft.rollout.vllm.values import load_values

    policy = random_policy(CONFIGS["svf"])
    payload = save(get_peft_model_state_dict(policy, save_embedding_layers=False))
    layer = fused_layer(policy)
    lone = torch.randn(8, WIDTH)  # has no factors by its Gram matrix on this machine
    factorise(lone, "svd")
    named = dict.fromkeys(("q", "k", "up"), weight_digest(lone, "gram"))
    with pytest.raises(EngineError, match=r"must be in this machine's cache"):
        load_values([layer], payload, named)


def test_a_payload_that_is_no_safetensors_is_refused() -> None:
    pytest.importorskip("vllm")
    from rlpeft.rollout.vllm.values import load_values

    with pytest.raises(EngineError, match="safetensors"):
        load_values([], b"\x80\x04not a payload", {})


@pytest.mark.parametrize("columns", [slice(0, 32), slice(16, 48)])
@torch.no_grad()
def test_packed_products_are_plain_products_and_leave_the_weight(columns: slice) -> None:
    pytest.importorskip("vllm")
    from rlpeft.rollout.vllm.linear_methods import pack

    torch.manual_seed(0)
    weight, x = torch.randn(48, 32), torch.randn(5, 96)[:, columns]  # a view, as slices are
    before = weight.clone()
    torch.testing.assert_close(pack(weight)(x), x @ weight.T)
    torch.testing.assert_close(pack(weight[:32].T)(x), x @ weight[:32])
    assert torch.equal(weight, before)
