"""What PEFT's users expect of any tuner, asked of the geometric ones."""

import copy
import json
import re

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig
from rlpeft.errors import ConfigError, ModelError

PROMPT = torch.tensor([[5, 9, 12, 7, 33, 2], [8, 8, 41, 3, 59, 10]])
METHODS = {
    "rotation": lambda **options: HypLoraConfig(**options),
    "boost": lambda **options: HypLoraConfig(variant="boost", **options),
    "unit": lambda **options: HypLoraConfig(norm_mode="unit", learn_curvature=False, **options),
    "mixture": lambda **options: MoSLoraConfig(**options),
    "mixture-mlp": lambda **options: MoSLoraConfig(router="mlp", **options),
    "mixture-z": lambda **options: MoSLoraConfig(router="z", map="ambient", **options),
}


@pytest.fixture(params=METHODS)
def config(request):
    """A maker of configs of one method; targets default to all linear layers."""

    def make(**options):
        return METHODS[request.param](**({"target_modules": "all-linear", "r": 16} | options))

    return make


def logits(model, **options):
    return model(PROMPT, **options).logits


def test_a_fresh_adapter_leaves_the_base_model_as_it_is(llama, config):
    base = llama()
    expected = logits(base)
    assert torch.equal(logits(get_peft_model(base, config())), expected)


def test_a_disabled_adapter_leaves_the_base_model_as_it_is(llama, config, perturb):
    base = llama()
    expected = logits(base)
    model = perturb(get_peft_model(base, config())).eval()
    changed = logits(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), expected)
    assert (changed - expected).abs().max() > 1e-3
    assert torch.equal(logits(model), changed)


def test_saving_and_loading_is_bit_exact(llama, config, perturb, tmp_path):
    model = perturb(get_peft_model(llama(), config())).eval()
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(llama(), tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(logits(loaded), logits(model))
    ours, theirs = get_peft_model_state_dict(model), get_peft_model_state_dict(loaded)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    ("make", "field", "value"),
    [
        (HypLoraConfig, "variant", "spiral"),
        (HypLoraConfig, "norm_mode", "max"),
        (MoSLoraConfig, "map", "mercator"),
        (MoSLoraConfig, "router", "hash"),
        (MoSLoraConfig, "spaces", ["klein"]),
    ],
)
def test_an_unknown_form_in_a_saved_config_is_refused(llama, tmp_path, make, field, value):
    get_peft_model(llama(), make(target_modules=["q_proj"])).save_pretrained(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ConfigError, match=rf"{field} must be .*{re.escape(repr(value))}"):
        PeftModel.from_pretrained(llama(), tmp_path)


def test_an_adapter_may_be_loaded_under_another_name(llama, config, perturb, tmp_path):
    model = perturb(get_peft_model(llama(), config())).eval()
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(llama(), tmp_path, adapter_name="skill").eval()
    with torch.no_grad():
        assert torch.equal(logits(loaded), logits(model))


def test_loading_without_memory_for_a_second_copy_is_bit_exact(llama, config, perturb, tmp_path):
    model = perturb(get_peft_model(llama(), config())).eval()
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(llama(), tmp_path, low_cpu_mem_usage=True).eval()
    with torch.no_grad():
        assert torch.equal(logits(loaded), logits(model))


def test_every_saved_tensor_has_the_prefix_of_the_method(llama, config, tmp_path):
    model = get_peft_model(llama(), config())
    model.save_pretrained(tmp_path)
    prefix = model.base_model.prefix
    keys = load_file(tmp_path / "adapter_model.safetensors").keys()
    assert keys
    assert all(f".{prefix}" in key and "default" not in key for key in keys)


def test_all_trainable_parameters_are_saved_and_only_they_are_trained(llama, config):
    model = get_peft_model(llama(), config())
    saved = get_peft_model_state_dict(model)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.replace(".default", "") for name in trainable} <= set(saved)
    assert all(model.base_model.prefix in name for name in trainable)


def test_every_trainable_parameter_gets_a_finite_gradient(llama, config, perturb):
    model = perturb(get_peft_model(llama(), config()))
    (logits(model).square().mean() + model.base_model.auxiliary_loss()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


def test_several_adapters_keep_apart(llama, config, perturb):
    base = llama()
    plain = logits(base)
    model = perturb(get_peft_model(base, config()))
    model.add_adapter("other", config(r=20))
    model.eval()
    first = logits(model)
    model.set_adapter("other")
    assert torch.equal(logits(model), plain)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable
    assert all(".other" in name for name in trainable)
    model.set_adapter("default")
    assert torch.equal(logits(model), first)
    model.delete_adapter("other")
    assert torch.equal(logits(model), first)


def test_two_active_adapters_add_their_updates(llama, config, perturb):
    model = perturb(get_peft_model(llama(), config()))
    model.add_adapter("other", config())
    perturb(model, seed=2)
    model.base_model.set_adapter(["default", "other"])
    perturb(model, seed=3)
    layer = next(model.base_model.adapted_layers())
    x = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        both = layer(x) - layer.base_layer(x)
        expected = layer.update(x, "default") + layer.update(x, "other")
    assert torch.allclose(both, expected, atol=1e-6)


def test_each_row_of_a_batch_may_have_its_own_adapter(llama, config, perturb):
    base = llama()
    plain = logits(base)
    model = perturb(get_peft_model(base, config())).eval()
    with torch.no_grad():
        adapted = logits(model)
        mixed = logits(model, adapter_names=["__base__", "default"])
    assert torch.allclose(mixed[0], plain[0], atol=1e-6)
    assert torch.allclose(mixed[1], adapted[1], atol=1e-6)
    assert not torch.allclose(plain[1], adapted[1], atol=1e-3)


def test_unknown_row_adapters_are_refused(llama, config):
    model = get_peft_model(llama(), config()).eval()
    with pytest.raises(ConfigError, match=r"among \['default'\].*got \['typo'\]"):
        logits(model, adapter_names=["typo", "default"])
    with pytest.raises(ConfigError, match="2 rows"):
        logits(model, adapter_names=["default"])
    with pytest.raises(ConfigError, match="evaluation mode"):
        logits(model.train(), adapter_names=["default", "default"])


def test_targets_may_be_a_list_a_regex_or_limited_to_layers(llama, config):
    def adapted(**options):
        model = get_peft_model(llama(), config(**options))
        return [layer.module_name for layer in model.base_model.adapted_layers()]

    assert adapted(target_modules=["q_proj", "up_proj"]) == [
        f"model.layers.{i}.{name}" for i in (0, 1) for name in ("self_attn.q_proj", "mlp.up_proj")
    ]
    assert adapted(target_modules=r".*layers\.1\..*v_proj") == ["model.layers.1.self_attn.v_proj"]
    assert adapted(target_modules=["v_proj"], layers_to_transform=[0]) == [
        "model.layers.0.self_attn.v_proj"
    ]
    excluded = adapted(target_modules=["q_proj", "v_proj"], exclude_modules=["v_proj"])
    assert all(name.endswith("q_proj") for name in excluded)
    assert len(adapted()) == 14


def test_targets_have_a_default_for_llama(llama, config):
    model = get_peft_model(llama(), config(target_modules=None))
    kinds = {layer.module_name.rsplit(".")[-1] for layer in model.base_model.adapted_layers()}
    assert {"up_proj", "down_proj"} < kinds


def test_rank_and_alpha_patterns_reach_their_modules(llama, config):
    options = {"rank_pattern": {"up_proj": 32}, "alpha_pattern": {"down_proj": 4.0}}
    model = get_peft_model(llama(), config(lora_alpha=32.0, **options))
    by_name = {layer.module_name: layer for layer in model.base_model.adapted_layers()}
    usual, wider = by_name["model.layers.0.mlp.gate_proj"], by_name["model.layers.0.mlp.up_proj"]
    assert wider.down("default").shape[0] > usual.down("default").shape[0]
    assert (usual.scaling["default"], wider.scaling["default"]) == (2.0, 1.0)
    assert by_name["model.layers.0.mlp.down_proj"].scaling["default"] == 0.25


def test_rslora_scales_by_the_root_of_the_rank(llama, config):
    model = get_peft_model(llama(), config(r=16, lora_alpha=8.0, use_rslora=True))
    assert next(model.base_model.adapted_layers()).scaling["default"] == 2.0


def test_dropout_acts_in_training_only(llama, config, perturb):
    model = perturb(get_peft_model(llama(), config(lora_dropout=0.5)))
    torch.manual_seed(0)
    assert not torch.equal(logits(model.train()), logits(model))
    assert torch.equal(logits(model.eval()), logits(model))


def test_modules_to_save_are_trained_and_saved(llama, config, perturb, tmp_path):
    targets = {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}
    model = perturb(get_peft_model(llama(), config(**targets))).eval()
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(llama(), tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(logits(loaded), logits(model))
    assert any("lm_head" in name for name, p in model.named_parameters() if p.requires_grad)


def test_merging_is_refused_with_the_reason(llama, config):
    model = get_peft_model(llama(), config())
    for merge in (
        model.merge_and_unload,
        model.merge_adapter,
        next(model.base_model.adapted_layers()).merge,
    ):
        with pytest.raises(ModelError, match=r"cannot be merged.*token.*export_approx"):
            merge()


def test_unloading_gives_the_base_model_back(llama, config, perturb):
    base = llama()
    expected = logits(base)
    unloaded = perturb(get_peft_model(base, config())).unload()
    assert torch.equal(logits(unloaded), expected)
    assert not any("lora" in name for name, _ in unloaded.named_parameters())


def test_a_bfloat16_base_gets_a_float32_adapter_and_bfloat16_outputs(llama, config, perturb):
    model = perturb(get_peft_model(llama().bfloat16(), config()))
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    assert logits(model).dtype == torch.bfloat16


def test_curvatures_stay_exact_over_a_bfloat16_base(llama, config):
    exact = get_peft_model(llama(), config())
    over_half = get_peft_model(llama().bfloat16(), config(), autocast_adapter_dtype=False)
    for one, other in zip(
        exact.base_model.adapted_layers(), over_half.base_model.adapted_layers(), strict=True
    ):
        for name in one.curvature_names:
            for parameter, twin in zip(
                getattr(one, name).values(), getattr(other, name).values(), strict=True
            ):
                assert torch.equal(parameter, twin)


def test_transposed_linear_layers_are_adapted(config, perturb):
    base = GPT2LMHeadModel(
        GPT2Config(vocab_size=60, n_positions=16, n_embd=32, n_layer=1, n_head=2, n_inner=48)
    ).eval()
    expected = logits(base)
    model = get_peft_model(base, config(target_modules=["c_attn", "c_fc"])).eval()
    assert torch.equal(logits(model), expected)
    shapes = {
        (layer.in_features, layer.out_features) for layer in model.base_model.adapted_layers()
    }
    assert shapes == {(32, 96), (32, 48)}
    assert not torch.equal(logits(perturb(model)), expected)


def test_a_target_that_is_no_linear_layer_is_refused_by_name(llama, config):
    with pytest.raises(ModelError, match=r"'model\.embed_tokens' is a Embedding"):
        get_peft_model(llama(), config(target_modules=["embed_tokens"]))


def test_a_model_can_be_copied_after_a_training_forward(llama, config, perturb):
    model = perturb(get_peft_model(llama(), config()))
    logits(model.train()).sum().backward()
    twin = copy.deepcopy(model)
    assert torch.equal(logits(twin.eval()), logits(model.eval()))


def test_generation_agrees_with_the_forward_of_the_whole_sequence(llama, config, perturb):
    model = perturb(get_peft_model(llama(eos_token_id=None), config())).eval()
    out = model.generate(
        input_ids=PROMPT,
        attention_mask=torch.ones_like(PROMPT),
        max_new_tokens=8,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    decoded = torch.stack(out.logits, 1)
    with torch.no_grad():
        whole = model(out.sequences).logits[:, PROMPT.shape[1] - 1 : -1]
    assert torch.allclose(decoded, whole, atol=1e-5)


def test_padding_and_order_of_the_batch_change_nothing(llama, config, perturb):
    model = perturb(get_peft_model(llama(), config())).eval()
    with torch.no_grad():
        expected = logits(model)
        flipped = model(PROMPT.flip(0)).logits.flip(0)
        padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), PROMPT], 1)
        mask = torch.cat([torch.zeros(2, 3, dtype=torch.long), torch.ones_like(PROMPT)], 1)
        behind = model(padded, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(0))
    assert torch.allclose(flipped, expected, atol=1e-6)
    assert torch.allclose(behind.logits[:, 3:], expected, atol=1e-5)
    assert behind.logits.isfinite().all()


def test_inference_sees_new_parameters_at_once(llama, config, perturb):
    model = perturb(get_peft_model(llama(), config())).eval()
    with torch.no_grad():
        before = logits(model)
        assert torch.equal(logits(model), before)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.5)
        inside = logits(model)
    assert torch.allclose(inside, logits(model), atol=1e-6)
    assert (inside - before).abs().max() > 1e-3


def test_training_without_gradient_sees_what_was_written_past_pytorch(llama, config, perturb):
    """Old log-probs and the first pass of reentrant checkpointing, after a sharded optimizer."""
    model = perturb(get_peft_model(llama(), config())).train()
    with torch.no_grad():
        logits(model)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.mul_(1.5)
        found = logits(model)
    assert torch.allclose(found, logits(model), atol=1e-6)


def test_a_config_of_another_version_is_refused(llama, config, tmp_path):
    get_peft_model(llama(), config()).save_pretrained(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))
    with pytest.raises(ConfigError, match="format_version must be 1, got 99"):
        PeftModel.from_pretrained(llama(), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"r": 0}, "rank 'r' must be a whole number from 1 up, got 0"),
        ({"rank_pattern": {"up_proj": 0}}, "rank 'up_proj'"),
        ({"lora_alpha": -1.0}, "alpha 'lora_alpha' must be positive, got -1.0"),
        ({"lora_dropout": 1.0}, "lora_dropout must be in"),
        ({"curvature_reg": -1.0}, "curvature_reg must be at least 0"),
        ({"curvature_bounds": (0.0, 4.0)}, "0 < low < high"),
        ({"target_modules": "q_proj", "layers_to_transform": [0]}, "layers_to_transform must be"),
    ],
)
def test_impossible_options_are_refused(config, change, message):
    with pytest.raises(ConfigError, match=message):
        config(**change)


def test_nan_activations_are_refused_by_the_name_of_the_module(llama, config, perturb):
    model = perturb(get_peft_model(llama(), config())).train()

    def spoil(_, args):
        return (args[0] * float("nan"),)

    logits(model)
    model.base_model.check_finite()
    model.base_model.model.model.layers[1].mlp.register_forward_pre_hook(spoil)
    logits(model)
    with pytest.raises(ModelError, match=r"'model\.layers\.1\.mlp\.gate_proj'"):
        model.base_model.check_finite()


def test_a_lora_loads_beside_nothing_of_ours(llama):
    """Registration must not disturb PEFT's own methods."""
    model = get_peft_model(llama(), LoraConfig(target_modules=["q_proj"]))
    assert isinstance(model.base_model.model.lm_head, nn.Linear)
    assert torch.equal(logits(model), logits(llama()))
