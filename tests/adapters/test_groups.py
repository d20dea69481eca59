import pytest
import torch
from peft import LoraConfig, get_peft_model

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig
from rlpeft.adapters.groups import parameter_groups


def named(model, **options):
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, lr=1e-2, weight_decay=0.1, **options)
    return {g["name"]: (g, [names[p] for p in g["params"]]) for g in groups}


def test_curvatures_and_scales_learn_slower_and_undecayed(llama):
    groups = named(get_peft_model(llama(), HypLoraConfig(target_modules=["q_proj"])))
    assert groups.keys() == {"adapter", "curvature"}
    group, names = groups["curvature"]
    assert (group["lr"], group["weight_decay"]) == (pytest.approx(1e-3), 0.0)
    assert all("curvature" in name or "scale" in name for name in names)
    assert len(names) == 4
    assert groups["adapter"][0]["weight_decay"] == 0.1


def test_routers_have_their_own_group(llama):
    model = get_peft_model(llama(), MoSLoraConfig(target_modules=["q_proj"]))
    groups = named(model, router_lr_ratio=3.0)
    group, names = groups["router"]
    assert (group["lr"], group["weight_decay"]) == (pytest.approx(3e-2), 0.0)
    assert all("router" in name for name in names)


def test_every_trainable_parameter_is_in_one_group(llama):
    model = get_peft_model(
        llama(), MoSLoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"])
    )
    listed = [name for _, names in named(model).values() for name in names]
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert sorted(listed) == sorted(trainable)


def test_other_methods_have_a_single_group_that_an_optimizer_takes(llama):
    model = get_peft_model(llama(), LoraConfig(target_modules=["q_proj"]))
    groups = parameter_groups(model, lr=1e-3)
    assert [group["name"] for group in groups] == ["adapter"]
    assert torch.optim.AdamW(groups).param_groups[0]["lr"] == 1e-3
