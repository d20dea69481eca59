"""Geometric adapters in the learner: their own loss, groups, figures, and NaN with a name."""

import pytest
import torch
from torch.testing import assert_close

from rlpeft.adapters.policy import attach_adapter
from rlpeft.errors import ModelError
from rlpeft.recipe.run import HypLoraAdapter, LearnerConfig, LossConfig, MoSLoraAdapter
from rlpeft.training.learner import LocalLearner
from rlpeft.training.packing import Sample, pack

SAMPLES = [
    Sample((1, 5, 6), (7, 8, 2), (-4.1, -3.9, -4.0), 1.0),
    Sample((1, 5, 6), (9, 2), (-4.2, -4.0), -0.5),
    Sample((1, 4), (10, 11, 12, 13), (-4.0, -4.1, -4.1, -4.0), 0.7),
    Sample((1, 4, 4, 4, 4), (3,), (-4.0,), -1.2),
]
HYPLORA = HypLoraAdapter(type="hyplora", rank=4)
MOSLORA = MoSLoraAdapter(type="moslora", rank=8, balance_coef=0.0)
BALANCED = MoSLoraAdapter(type="moslora", rank=8, balance_coef=0.5)
BOTH = pytest.mark.parametrize("adapter", [HYPLORA, BALANCED], ids=["hyplora", "moslora"])


def make(llama, adapter, **options):
    loss = options.pop("loss", LossConfig())
    policy = attach_adapter(llama(), adapter, seed=0)
    config = LearnerConfig(**({"lr": 0.05} | options))
    learner = LocalLearner(policy, config, loss, total_steps=10, temperature=1.0)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in learner.parameters.values():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return learner


def gradients(learner):
    return {n: p.grad.clone() for n, p in learner.parameters.items()}


@pytest.mark.parametrize("adapter", [HYPLORA, MOSLORA], ids=["hyplora", "moslora"])
def test_micro_batches_give_the_gradient_of_one_large_batch(llama, adapter):
    found = []
    for budget in (1, 9, 1000):
        learner = make(llama, adapter, token_budget=budget, loss=LossConfig(kl_coef=0.1))
        metrics = learner.forward_backward(SAMPLES)
        found.append((metrics["loss"], metrics["auxiliary_loss"], gradients(learner)))
    assert found[0][1] > 0
    for loss, auxiliary, grads in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        assert auxiliary == pytest.approx(found[0][1], rel=1e-5)
        for name, grad in grads.items():
            assert_close(grad, found[0][2][name], rtol=1e-4, atol=1e-6)


def test_the_balance_loss_is_the_token_weighted_mean_over_micro_batches(llama):
    """Computed apart: each row alone, weighted by its share of the tokens."""
    learner = make(llama, BALANCED, token_budget=1)
    total = learner.forward_backward(SAMPLES)["auxiliary_loss"]
    tuner, expected = learner.policy.base_model, 0.0
    rows = [s.prompt_ids + s.completion_ids for s in SAMPLES]
    for row in rows:
        learner.policy(torch.tensor([row]))
        expected += tuner.auxiliary_loss().item() * len(row) / sum(map(len, rows))
    assert total == pytest.approx(expected, rel=1e-5)
    assert total > 0.5  # balance_coef at uniform shares, and the curvatures have moved


@BOTH
def test_without_advantage_the_gradient_is_that_of_the_auxiliary_loss(llama, adapter):
    learner = make(llama, adapter)
    flat = [Sample(s.prompt_ids, s.completion_ids, s.logprobs, 0.0) for s in SAMPLES]
    learner.forward_backward(flat)
    ours = gradients(learner)
    learner.optimizer.zero_grad()
    tuner = learner.policy.base_model
    learner.forward.hidden(next(pack(flat, token_budget=1000)))
    tuner.auxiliary_loss().backward()
    moved = {n for n, grad in ours.items() if grad.abs().max() > 0}
    assert any("curvature" in name for name in moved)
    assert any("router" in name for name in moved) == (adapter is BALANCED)
    for name, p in learner.parameters.items():
        assert_close(ours[name], torch.zeros_like(p) if p.grad is None else p.grad)


@BOTH
def test_curvatures_learn_at_a_tenth_of_the_rate(llama, adapter):
    learner = make(llama, adapter, weight_decay=0.1)
    rates = {group["name"]: group["lr"] for group in learner.optimizer.param_groups}
    assert rates["curvature"] == pytest.approx(0.1 * rates["adapter"])
    members = [p for group in learner.optimizer.param_groups for p in group["params"]]
    assert len(members) == len(learner.parameters)


@pytest.mark.slow
@BOTH
def test_resume_is_bit_exact(llama, adapter):
    straight, first = make(llama, adapter), make(llama, adapter)
    for _ in range(3):
        straight.step(SAMPLES)
    first.step(SAMPLES)
    second = make(llama, adapter)
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.step(SAMPLES)
    assert second.adapter_state().digest == straight.adapter_state().digest


@pytest.mark.slow
@BOTH
def test_gradient_checkpointing_changes_no_gradient(llama, adapter):
    found = []
    for checkpointing in (False, True):
        learner = make(llama, adapter, gradient_checkpointing=checkpointing)
        learner.forward_backward(SAMPLES)
        found.append(torch.cat([grad.flatten() for grad in gradients(learner).values()]))
    assert_close(*found, rtol=1e-5, atol=1e-7)


@BOTH
def test_a_step_tells_gains_curvatures_and_their_histogram(llama, adapter):
    metrics = make(llama, adapter).step(SAMPLES)
    assert metrics["curvature/min"] < 0
    assert metrics["gain/hyperbolic/mean"] != 1.0
    shares = [v for name, v in metrics.items() if name.startswith("gain/hyperbolic/from_")]
    assert sum(shares) == pytest.approx(1.0)
    assert not any(name.startswith("gain/euclidean/from_") for name in metrics)


@BOTH
def test_new_values_are_seen_at_once(llama, adapter):
    """Terms that were cached for scoring must not outlive the values they came from."""
    learner, other = make(llama, adapter), make(llama, adapter)
    row = [SAMPLES[0].prompt_ids + SAMPLES[0].completion_ids]
    before = learner.logprobs(row)
    other.step(SAMPLES)
    learner.load_adapter(other.adapter_state())
    other.policy.base_model.clear_cache()
    assert learner.logprobs(row) == other.logprobs(row) != before


@BOTH
def test_nan_in_activations_is_named_before_the_optimizer_moves(llama, adapter):
    learner = make(llama, adapter)
    start = learner.adapter_state().digest
    broken = learner.policy.get_base_model().model.layers[1].input_layernorm.weight
    with torch.no_grad():
        broken[0] = float("nan")
    with pytest.raises(ModelError, match=r"layers\.1\.self_attn\.q_proj"):
        learner.step(SAMPLES)
    assert learner.adapter_state().digest == start
    assert all(p.grad is None for p in learner.parameters.values())
