"""SVF as a PEFT method: what a user of PEFT expects of any tuner, and exactness."""

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import nn
from torch.testing import assert_close

from rlpeft.adapters import SvfConfig
from rlpeft.adapters.svf import SvfLinear
from rlpeft.errors import ConfigError, ModelError

IDS = torch.tensor([[1, 7, 9, 4, 30], [1, 8, 8, 5, 31]])


def set_z(policy, seed=0, scale=0.2, name="default"):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in policy.modules():
            if isinstance(module, SvfLinear) and name in module.svf_z:
                z = module.svf_z[name]
                z.add_(scale * torch.randn(z.shape, generator=generator))


def test_a_fresh_adapter_is_the_base_model_exactly(llama):
    for dtype in (torch.float32, torch.bfloat16):
        base = llama().to(dtype)
        before = base(IDS).logits.clone()
        for form in ("dense", "factored"):
            policy = get_peft_model(base, SvfConfig(form=form))
            assert torch.equal(policy(IDS).logits, before)
            base = policy.unload()


def test_default_targets_are_attention_and_mlp(llama):
    policy = get_peft_model(llama(), SvfConfig())
    kinds = {n.rpartition(".")[2] for n, m in policy.named_modules() if isinstance(m, SvfLinear)}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_parameters_are_one_vector_a_matrix(llama):
    policy = get_peft_model(llama(), SvfConfig())
    trainable = {n: p for n, p in policy.named_parameters() if p.requires_grad}
    # Per layer: q, o, gate, up, down of rank 32 and k, v of rank 16.
    assert sum(p.numel() for p in trainable.values()) == 2 * (5 * 32 + 2 * 16)
    assert all(name.endswith("svf_z.default") for name in trainable)


def test_parameters_are_float32_on_a_bf16_base(llama):
    policy = get_peft_model(llama().to(torch.bfloat16), SvfConfig())
    assert {p.dtype for p in policy.parameters() if p.requires_grad} == {torch.float32}


def test_dense_and_factored_forms_agree(llama):
    outputs, gradients = [], []
    for form in ("dense", "factored"):
        policy = get_peft_model(llama(), SvfConfig(form=form))
        set_z(policy)
        logits = policy(IDS).logits
        logits.square().sum().backward()
        outputs.append(logits)
        gradients.append(torch.cat([p.grad for p in policy.parameters() if p.requires_grad]))
    assert_close(*outputs, rtol=1e-5, atol=1e-6)
    assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_layer_equals_the_decomposed_weight_with_bias():
    for shape in ((9, 5), (5, 9), (7, 7)):
        layer = nn.Linear(shape[1], shape[0])
        nn.init.normal_(layer.bias)
        u, s, vt = torch.linalg.svd(layer.weight.detach().double(), full_matrices=False)
        z = torch.rand(min(shape), generator=torch.Generator().manual_seed(1)) + 0.5
        x = torch.randn(4, shape[1], generator=torch.Generator().manual_seed(2))
        expected = x.double() @ ((u * (s * z)) @ vt).T + layer.bias
        for form in ("dense", "factored"):
            svf = SvfLinear(layer, "default", SvfConfig(form=form))
            svf.svf_z["default"].data = z
            assert_close(svf(x).double(), expected, rtol=1e-5, atol=1e-5)


def test_a_change_of_z_in_place_is_seen_at_once(llama):
    policy = get_peft_model(llama(), SvfConfig())
    before = policy(IDS).logits
    for p in policy.parameters():
        if p.requires_grad:
            p.data.mul_(1.1)  # through .data: no version counter moves
    assert not torch.allclose(policy(IDS).logits, before)


def test_disable_adapter_gives_the_base(llama):
    base = llama()
    before = base(IDS).logits.clone()
    policy = get_peft_model(base, SvfConfig())
    set_z(policy)
    assert not torch.allclose(policy(IDS).logits, before)
    with policy.disable_adapter():
        assert torch.equal(policy(IDS).logits, before)


def test_save_and_load_is_bit_exact(llama, tmp_path):
    policy = get_peft_model(llama(), SvfConfig(parametrisation="sigmoid_renorm"))
    set_z(policy)
    policy.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(llama(), tmp_path)
    assert torch.equal(again(IDS).logits, policy(IDS).logits)


def test_saved_file_holds_the_vectors_alone(llama, tmp_path):
    policy = get_peft_model(llama(), SvfConfig())
    policy.save_pretrained(tmp_path)
    # 384 fp32 numbers and safetensors' header: no basis, no singular values.
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < 4 * 384 + 3000


def test_several_adapters_switch(llama):
    policy = get_peft_model(llama(), SvfConfig(), adapter_name="a")
    policy.add_adapter("b", SvfConfig())
    set_z(policy, seed=1, name="a")
    set_z(policy, seed=2, name="b")
    policy.set_adapter("a")
    with_a = policy(IDS).logits
    policy.set_adapter("b")
    assert not torch.allclose(policy(IDS).logits, with_a)
    policy.set_adapter("a")
    assert torch.equal(policy(IDS).logits, with_a)


def test_active_adapters_add_their_changes(llama):
    policy = get_peft_model(llama(), SvfConfig(), adapter_name="a")
    policy.add_adapter("b", SvfConfig())
    set_z(policy, seed=1, name="a")
    layer = next(m for m in policy.modules() if isinstance(m, SvfLinear))
    policy.base_model.set_adapter(["a", "b"])  # b is z = 1: it changes nothing
    assert_close(layer.multiplier(), layer.svf_z["a"], rtol=0, atol=2e-7)


def test_merge_equals_the_adapter(llama):
    policy = get_peft_model(llama(), SvfConfig())
    set_z(policy)
    expected = policy(IDS).logits
    merged = policy.merge_and_unload()
    assert not any(isinstance(m, SvfLinear) for m in merged.modules())
    assert_close(merged(IDS).logits, expected, rtol=1e-5, atol=1e-6)


def test_unmerge_restores_the_base_bit_for_bit(llama):
    base = llama().to(torch.bfloat16)
    before = {n: p.clone() for n, p in base.named_parameters()}
    policy = get_peft_model(base, SvfConfig())
    for seed in range(20):
        set_z(policy, seed=seed, scale=0.01)
        policy.merge_adapter()
        policy.unmerge_adapter()
    after = {n.replace(".base_layer", ""): p for n, p in policy.get_base_model().named_parameters()}
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_in_bf16_the_factored_form_loses_less_of_a_small_change_than_a_rounded_weight():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 96, generator=generator).bfloat16()
    x = torch.randn(256, 96, generator=generator).bfloat16()
    z = 1 + 0.01 * torch.randn(64, generator=generator)

    def change(dtype: torch.dtype, form: str) -> torch.Tensor:
        linear = nn.Linear(96, 64, bias=False, dtype=dtype).requires_grad_(False)
        linear.weight.copy_(weight)
        layer = SvfLinear(linear, "default", SvfConfig(form=form))
        before = layer(x.to(dtype))
        layer.svf_z["default"].data = z
        return (layer(x.to(dtype)) - before).detach().float()

    exact = change(torch.float32, "factored")
    errors = [(change(torch.bfloat16, f) - exact).norm() for f in ("factored", "dense")]
    assert errors[0] < 0.75 * errors[1]


def test_layers_to_transform_takes_half(llama):
    policy = get_peft_model(llama(), SvfConfig(target_modules=["q_proj"], layers_to_transform=[1]))
    names = [n for n, m in policy.named_modules() if isinstance(m, SvfLinear)]
    assert names == ["base_model.model.model.layers.1.self_attn.q_proj"]


def test_tied_embeddings_stay_tied(llama):
    policy = get_peft_model(llama(tie_word_embeddings=True), SvfConfig())
    base = policy.get_base_model()
    assert base.lm_head.weight is base.model.embed_tokens.weight


def test_factors_are_shared_by_equal_weights(llama):
    first, second = (get_peft_model(llama(), SvfConfig()) for _ in range(2))
    for a, b in zip(first.modules(), second.modules(), strict=True):
        if isinstance(a, SvfLinear):
            assert a.digest == b.digest
            assert torch.equal(a.svf_basis, b.svf_basis)


def test_a_target_that_is_no_linear_layer_is_named(llama):
    with pytest.raises(ModelError, match=r"model.embed_tokens.*Embedding"):
        get_peft_model(llama(), SvfConfig(target_modules=["embed_tokens"]))


def test_an_unknown_parametrisation_is_refused():
    with pytest.raises(ConfigError, match="parametrisation must be one of"):
        SvfConfig(parametrisation="softmax")


def test_a_weight_with_nan_is_refused(llama):
    base = llama()
    base.model.layers[0].self_attn.q_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(ModelError, match="finite weights"):
        get_peft_model(base, SvfConfig())


def test_gradient_checkpointing_changes_no_gradient(llama):
    gradients = []
    for checkpointing in (False, True):
        policy = get_peft_model(llama(), SvfConfig())
        set_z(policy)
        if checkpointing:
            policy.gradient_checkpointing_enable({"use_reentrant": False})
            policy.train()
        policy(IDS, labels=IDS).loss.backward()
        gradients.append(torch.cat([p.grad for p in policy.parameters() if p.requires_grad]))
    assert_close(*gradients, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("merge", ["merge_adapter", "merge_and_unload"])
def test_a_merge_of_an_unknown_adapter_is_refused(llama, merge):
    policy = get_peft_model(llama(), SvfConfig())
    with pytest.raises(ConfigError, match=r"among \['default'\], got \['typo'\]"):
        getattr(policy, merge)(adapter_names=["typo"])


@pytest.mark.parametrize("parametrisation", ["direct", "sigmoid_renorm"])
def test_a_weighted_adapter_mixes_the_multipliers(llama, parametrisation):
    policy = get_peft_model(llama(), SvfConfig(parametrisation=parametrisation), adapter_name="a")
    policy.add_adapter("b", SvfConfig())
    set_z(policy, seed=1, name="a")
    set_z(policy, seed=2, name="b")
    trained = [n for n, p in policy.named_parameters() if p.requires_grad]
    policy.add_weighted_adapter(["a", "b"], [0.5, 0.25], "both")
    assert [n for n, p in policy.named_parameters() if p.requires_grad] == trained
    layers = [m for m in policy.modules() if isinstance(m, SvfLinear)]
    for layer in layers:
        expected = 0.5 * layer.multiplier(["a"]) + 0.25 * layer.multiplier(["b"])
        assert_close(layer.multiplier(["both"]), expected)
    policy.set_adapter("both")
    assert_close(layers[0].multiplier(), layers[0].svf_z["both"])


@pytest.mark.parametrize(
    ("names", "weights", "name", "message"),
    [
        (["a", "typo"], [1, 1], "c", r"got \['typo'\]"),
        (["a", "b"], [1], "c", "one weight for each"),
        (["a", "b"], [1, 1], "a", "a new name"),
        (["a", "b"], [1, 1], "c", "of the same modules"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(llama, names, weights, name, message):
    policy = get_peft_model(llama(), SvfConfig(), adapter_name="a")
    policy.add_adapter("b", SvfConfig(target_modules=["q_proj"]))
    with pytest.raises(ConfigError, match=message):
        policy.add_weighted_adapter(names, weights, name)


@pytest.mark.parametrize("merge", ["merge_adapter", "merge_and_unload"])
def test_a_merge_into_a_tied_weight_is_refused_and_changes_nothing(llama, merge):
    with pytest.warns(UserWarning, match="a tied layer is part of the adapter"):
        policy = get_peft_model(
            llama(tie_word_embeddings=True), SvfConfig(target_modules=["lm_head", "q_proj"])
        )
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.5)
        before = policy(IDS).logits
        with pytest.raises(ModelError, match=r"that of 'lm_head' is tied to another module"):
            getattr(policy, merge)()
        torch.testing.assert_close(policy(IDS).logits, before, rtol=0, atol=0)


def test_a_merge_into_a_layer_that_is_called_elsewhere_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.again = self.first

        def forward(self, x):
            return self.again(self.first(x))

    policy = get_peft_model(Twice(), SvfConfig(target_modules=["first"]))
    with pytest.raises(ModelError, match=r"'first' is tied to another module"):
        policy.merge_and_unload()
