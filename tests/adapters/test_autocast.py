"""Our methods under bf16 autocast over a float32 base: what `bf16=True` of any trainer does."""

import pytest
import torch
from peft import get_peft_model
from torch.testing import assert_close

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig, SvfConfig
from rlpeft.adapters.svf import SvfLinear

IDS = torch.tensor([[5, 9, 12, 7, 33, 2], [8, 8, 41, 3, 59, 10]])
SVF = {form: lambda form=form: SvfConfig(form=form) for form in ("auto", "dense", "factored")}
METHODS = SVF | {
    "hyplora": lambda: HypLoraConfig(target_modules="all-linear"),
    "moslora": lambda: MoSLoraConfig(target_modules="all-linear"),
}


@pytest.fixture(params=METHODS)
def policy(request, llama, perturb):
    return perturb(get_peft_model(llama(), METHODS[request.param]()))


def gradients(policy, *, autocast):
    policy.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = policy(IDS, labels=IDS).loss
    loss.backward()
    grads = [p.grad.flatten() for p in policy.parameters() if p.requires_grad]
    return loss.detach(), torch.cat(grads)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
def test_it_trains_under_autocast_as_it_does_in_float32(policy, checkpointing):
    exact_loss, exact = gradients(policy, autocast=False)
    if checkpointing:
        policy.gradient_checkpointing_enable({"use_reentrant": False})
    policy.train()
    loss, rough = gradients(policy, autocast=True)
    assert_close(loss, exact_loss, atol=0.02, rtol=0.02)
    assert rough.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(rough, exact, dim=0) > 0.99
    assert_close(rough.norm(), exact.norm(), atol=0, rtol=0.05)


def test_what_is_kept_under_autocast_is_exact_afterwards(policy):
    with torch.no_grad():
        exact = policy.eval()(IDS).logits
        for layer in policy.modules():
            if hasattr(layer, "clear_cache"):
                layer.clear_cache()
        with torch.autocast("cpu", torch.bfloat16):
            policy(IDS)
        assert_close(policy(IDS).logits, exact, atol=1e-6, rtol=1e-6)


def test_a_merge_under_autocast_is_exact(llama, perturb):
    merged = []
    for autocast in (False, True):
        policy = perturb(get_peft_model(llama(), SvfConfig()), std=0.3)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            policy.merge_adapter()
        layers = [m for m in policy.modules() if isinstance(m, SvfLinear)]
        merged.append([layer.base_layer.weight for layer in layers])
    assert all(torch.equal(one, other) for one, other in zip(*merged, strict=True))


def test_small_multipliers_train_under_autocast(llama):
    """z near 0 takes the branch that does not divide by it."""
    policy = get_peft_model(llama(), SvfConfig(form="dense"))
    for name, parameter in policy.named_parameters():
        if "svf_z" in name:
            parameter.data[0] = 0.01
    _, exact = gradients(policy, autocast=False)
    _, rough = gradients(policy, autocast=True)
    assert torch.nn.functional.cosine_similarity(rough, exact, dim=0) > 0.99
