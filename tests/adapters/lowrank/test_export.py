import pytest
import torch
from peft import PeftModel, get_peft_model

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig, export_approx
from rlpeft.errors import ModelError

IDS = torch.tensor([[5, 9, 12, 7, 33, 2], [8, 8, 41, 3, 59, 10]])
BATCHES = [{"input_ids": IDS}, {"input_ids": IDS.flip(1)}]


def test_a_flat_hyplora_is_exported_exactly(llama, perturb, tmp_path):
    config = HypLoraConfig(
        curvature=0.0,
        learn_curvature=False,
        target_modules="all-linear",
        rank_pattern={"q_proj": 4},
    )
    model = perturb(get_peft_model(llama(), config)).eval()
    errors = export_approx(model, BATCHES, tmp_path)
    assert len(errors) == 14
    assert max(errors.values()) < 1e-7
    lora = PeftModel.from_pretrained(llama(), tmp_path).eval()
    assert lora.peft_config["default"].peft_type == "LORA"
    assert torch.allclose(lora(IDS).logits, model(IDS).logits, atol=1e-6)
    merged = lora.merge_and_unload()
    assert torch.allclose(merged(IDS).logits, model(IDS).logits, atol=1e-5)


def test_the_reported_error_is_that_of_the_update(llama, perturb, tmp_path):
    config = HypLoraConfig(norm_mode="none", target_modules=["model.layers.0.self_attn.q_proj"])
    model = perturb(get_peft_model(llama(), config), std=0.2).eval()
    (error,) = export_approx(model, BATCHES[:1], tmp_path, max_error=1.0).values()
    assert error > 1e-4
    lora = PeftModel.from_pretrained(llama(), tmp_path).eval()
    seen = {}

    def keep(key):
        return lambda layer, args, y: seen.__setitem__(
            key, (y - layer.base_layer(args[0])).detach()
        )

    for key, owner in (("ours", model), ("lora", lora)):
        owner.base_model.model.model.layers[0].self_attn.q_proj.register_forward_hook(keep(key))
        owner(IDS)
    measured = (seen["ours"] - seen["lora"]).norm() / seen["ours"].norm()
    assert measured.item() == pytest.approx(error, rel=1e-3)


def test_a_mixture_near_flat_space_is_exported_within_the_threshold(llama, perturb, tmp_path):
    config = MoSLoraConfig(target_modules=["up_proj"], curvature=1e-2)
    model = perturb(get_peft_model(llama(), config), std=1e-3).eval()
    errors = export_approx(model, BATCHES, tmp_path, max_error=0.02)
    assert 0 < max(errors.values()) < 0.02
    lora = PeftModel.from_pretrained(llama(), tmp_path).eval()
    assert torch.allclose(lora(IDS).logits, model(IDS).logits, atol=1e-5)


def test_an_error_above_the_threshold_is_refused_and_nothing_is_written(llama, perturb, tmp_path):
    config = HypLoraConfig(norm_mode="none", target_modules=["q_proj"])
    model = perturb(get_peft_model(llama(), config), std=0.5)
    with pytest.raises(ModelError, match=r"within 1e-06 .*layers\.0\.self_attn\.q_proj"):
        export_approx(model, BATCHES, tmp_path / "out", max_error=1e-6)
    assert not (tmp_path / "out").exists()


def test_calibration_leaves_the_mode_of_the_model_alone(llama, perturb, tmp_path):
    model = perturb(get_peft_model(llama(), HypLoraConfig(target_modules=["q_proj"]))).train()
    export_approx(model, BATCHES, tmp_path, max_error=1.0)
    assert model.training


def test_boost_and_foreign_adapters_cannot_be_exported(llama, tmp_path):
    boost = get_peft_model(llama(), HypLoraConfig(variant="boost", target_modules=["q_proj"]))
    with pytest.raises(ModelError, match="time coordinates"):
        export_approx(boost, BATCHES, tmp_path)
    with pytest.raises(ModelError, match="needs a HypLoRA or MoSLoRA adapter, 'other'"):
        export_approx(boost, BATCHES, tmp_path, adapter_name="other")


def test_export_without_calibration_is_refused(llama, tmp_path):
    model = get_peft_model(llama(), HypLoraConfig(target_modules=["q_proj"]))
    with pytest.raises(ModelError, match="at least one batch"):
        export_approx(model, [], tmp_path)
