"""The learner: the gradient does not depend on batching, and nothing moves on bad numbers."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from rlpeft.adapters.policy import attach_adapter
from rlpeft.errors import CheckpointError, ModelError
from rlpeft.recipe.run import (
    HypLoraAdapter,
    Ia3Adapter,
    LearnerConfig,
    LoraFamilyAdapter,
    LossConfig,
    MoSLoraAdapter,
    SvfAdapter,
)
from rlpeft.training.learner import LocalLearner
from rlpeft.training.packing import Sample

SAMPLES = [
    Sample((1, 5, 6), (7, 8, 2), (-4.1, -3.9, -4.0), 1.0),
    Sample((1, 5, 6), (9, 2), (-4.2, -4.0), -0.5),
    Sample((1, 4), (10, 11, 12, 13), (-4.0, -4.1, -4.1, -4.0), 0.7),
    Sample((1, 4, 4, 4, 4), (3,), (-4.0,), -1.2),
]


EVERY_ADAPTER = [
    SvfAdapter(),
    SvfAdapter(parametrisation="sigmoid_renorm"),
    LoraFamilyAdapter(type="lora", rank=4),
    LoraFamilyAdapter(type="dora", rank=4),
    Ia3Adapter(type="ia3"),
    HypLoraAdapter(type="hyplora", rank=4),
    MoSLoraAdapter(type="moslora", rank=8),
]


def make(llama, *, adapter=None, loss=None, total_steps=10, temperature=1.0, **options):
    policy = attach_adapter(llama(), adapter or SvfAdapter(), seed=0)
    config = LearnerConfig(**({"lr": 0.05} | options))
    return LocalLearner(
        policy, config, loss or LossConfig(), total_steps=total_steps, temperature=temperature
    )


def gradients(learner):
    return {n: p.grad.clone() for n, p in learner.parameters.items()}


def perturb(learner, scale=0.1):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in learner.parameters.values():
            p.add_(scale * torch.randn(p.shape, generator=generator))


@pytest.mark.parametrize("normalise", ["sequence", "token"])
def test_micro_batches_give_the_gradient_of_one_large_batch(llama, normalise):
    found = []
    for budget in (1, 9, 1000):
        loss = LossConfig(kl_coef=0.1, kl="full", normalise=normalise)
        learner = make(llama, loss=loss, token_budget=budget)
        perturb(learner)
        metrics = learner.forward_backward(SAMPLES)
        found.append((metrics["loss"], gradients(learner)))
    for loss, grads in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        for name, grad in grads.items():
            assert_close(grad, found[0][1][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kl", ["full", "full_reverse", "k1", "k3"])
def test_gradient_is_that_of_a_plain_loop_over_sequences(llama, kl):
    """Computed apart: one unpadded sequence at a time, full log-softmax, autograd."""
    learner = make(llama, loss=LossConfig(kl_coef=0.3, kl=kl, ratio_cap=0), temperature=0.7)
    perturb(learner)
    learner.forward_backward(SAMPLES)
    ours = gradients(learner)
    policy, total = learner.policy, 0.0
    for p in learner.parameters.values():
        p.grad = None
    for sample in SAMPLES:
        ids = torch.tensor([sample.prompt_ids + sample.completion_ids])
        at = slice(len(sample.prompt_ids) - 1, -1)
        log_pi = torch.log_softmax(policy(ids).logits[0, at] / 0.7, -1)
        with policy.disable_adapter(), torch.no_grad():
            log_base = torch.log_softmax(policy(ids).logits[0, at] / 0.7, -1)
        chosen = torch.tensor(sample.completion_ids)[:, None]
        lp, lb = log_pi.gather(1, chosen)[:, 0], log_base.gather(1, chosen)[:, 0]
        penalty = {
            "full": (log_pi.exp() * (log_pi - log_base)).sum(-1),
            "full_reverse": (log_base.exp() * (log_base - log_pi)).sum(-1),
            "k1": (lp - lb).detach() * lp,
            "k3": torch.exp(lb - lp) - 1 - (lb - lp),
        }[kl]
        total = total + (-sample.advantage * lp + 0.3 * penalty).sum() / len(SAMPLES)
    total.backward()
    for name, p in learner.parameters.items():
        assert_close(ours[name], p.grad, rtol=2e-4, atol=2e-6)


def test_kl_is_zero_at_step_zero(llama):
    for adapter in (SvfAdapter(), LoraFamilyAdapter(type="lora", rank=4)):
        learner = make(llama, adapter=adapter, loss=LossConfig(kl_coef=0.1, kl="full"))
        assert learner.forward_backward(SAMPLES)["kl"] == 0.0


@pytest.mark.parametrize(
    "adapter",
    EVERY_ADAPTER,
    ids=["svf", "svf-sigmoid", "lora", "dora", "ia3", "hyplora", "moslora"],
)
def test_a_rewarded_completion_becomes_likelier_with_every_adapter(llama, adapter):
    learner = make(llama, adapter=adapter)
    good, bad = SAMPLES[0], SAMPLES[1]
    samples = [good, Sample(bad.prompt_ids, bad.completion_ids, bad.logprobs, -1.0)]

    def margin():
        scores = [sum(learner.logprobs([s.prompt_ids + s.completion_ids])[0][2:]) for s in samples]
        return scores[0] - scores[1]

    before = margin()
    for _ in range(10):
        learner.step(samples)
    assert margin() > before + 0.05


def test_zero_advantages_move_nothing(llama):
    learner = make(llama)
    start = learner.adapter_state().digest
    learner.step([Sample(s.prompt_ids, s.completion_ids, s.logprobs, 0.0) for s in SAMPLES])
    assert learner.adapter_state().digest == start
    assert learner.num_steps == 1


def test_a_batch_of_empty_completions_is_a_step_that_moves_nothing(llama):
    learner = make(llama)
    start = learner.adapter_state().digest
    learner.step([Sample((1, 2), (), (), 1.0)])
    assert learner.adapter_state().digest == start


def test_a_loss_that_is_not_finite_stops_before_the_optimizer_moves(llama):
    learner = make(llama)
    start = learner.adapter_state().digest
    with pytest.raises(ModelError, match="loss must be finite"):
        learner.step([*SAMPLES, Sample((1, 2), (3,), (-1.0,), float("nan"))])
    assert learner.adapter_state().digest == start
    assert all(p.grad is None for p in learner.parameters.values())


def test_a_gradient_that_is_not_finite_stops_before_the_optimizer_moves(llama):
    learner = make(llama)
    start = learner.adapter_state().digest
    learner.forward_backward(SAMPLES)
    next(iter(learner.parameters.values())).grad[0] = float("inf")
    with pytest.raises(ModelError, match=r"gradients must be finite.*svf_z"):
        learner.optim_step()
    assert learner.adapter_state().digest == start


def test_gradients_whose_norm_overflows_are_told_as_that(llama):
    learner = make(llama)
    learner.forward_backward(SAMPLES)
    next(iter(learner.parameters.values())).grad[0] = 1e25
    with pytest.raises(ModelError, match=r"got a norm beyond float32 at step 1; .* scores"):
        learner.optim_step()


def test_two_scorings_of_one_batch_are_equal(llama):
    learner = make(llama)
    first = learner.forward_backward(SAMPLES)
    learner.optimizer.zero_grad()
    assert learner.forward_backward(SAMPLES) == first


def test_resume_is_bit_exact(llama):
    straight = make(llama, schedule="cosine", warmup_steps=2)
    for _ in range(4):
        straight.step(SAMPLES)
    first = make(llama, schedule="cosine", warmup_steps=2)
    for _ in range(2):
        first.step(SAMPLES)
    second = make(llama, schedule="cosine", warmup_steps=2)
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.step(SAMPLES)
    assert second.adapter_state().digest == straight.adapter_state().digest
    assert second.num_steps == 4


def test_a_state_of_another_adapter_is_refused(llama):
    svf, lora = make(llama), make(llama, adapter=LoraFamilyAdapter(type="lora"))
    with pytest.raises(CheckpointError, match="same parameters"):
        svf.load_state_dict(lora.state_dict())


def test_cosine_schedule_warms_up_and_ends_at_zero(llama):
    learner = make(llama, schedule="cosine", warmup_steps=2, total_steps=6, lr=0.1)
    rates = [learner.step(SAMPLES)["learning_rate"] for _ in range(6)]
    assert rates[:3] == pytest.approx([0.0, 0.05, 0.1])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert learner.schedule.get_last_lr()[0] == pytest.approx(0.0, abs=1e-9)


def test_truncated_ratio_scales_the_gradient(llama):
    """Engine log-probs lower by log 4 than the learner's: ratio 4, capped at 2."""
    learner = make(llama)
    exact = learner.logprobs([s.prompt_ids + s.completion_ids for s in SAMPLES])
    tails = [row[-len(s.completion_ids) :] for row, s in zip(exact, SAMPLES, strict=True)]
    grads = []
    for shift in (0.0, 1.3862944):
        samples = [
            Sample(s.prompt_ids, s.completion_ids, tuple(x - shift for x in tail), s.advantage)
            for s, tail in zip(SAMPLES, tails, strict=True)
        ]
        metrics = learner.forward_backward(samples)
        grads.append(torch.cat(list(gradients(learner).values())))
        learner.optimizer.zero_grad()
    assert metrics["sampling/importance_sampling_ratio/max"] == pytest.approx(4.0, rel=1e-3)
    assert_close(grads[1], 2 * grads[0], rtol=1e-3, atol=1e-6)


def test_gradient_checkpointing_changes_no_gradient(llama):
    found = []
    for checkpointing in (False, True):
        learner = make(llama, gradient_checkpointing=checkpointing)
        learner.forward_backward(SAMPLES)
        found.append(torch.cat(list(gradients(learner).values())))
    assert_close(*found, rtol=1e-5, atol=1e-7)


def test_a_model_that_changes_its_logits_afterwards_is_refused(llama):
    policy = attach_adapter(llama(), SvfAdapter(), seed=0)
    base = policy.get_base_model()
    base.lm_head.register_forward_hook(lambda module, args, output: output)
    base.register_forward_hook(lambda m, a, output: setattr(output, "logits", output.logits * 2))
    with pytest.raises(ModelError, match="makes others from the same hidden states"):
        LocalLearner(policy, LearnerConfig(), LossConfig(), total_steps=1, temperature=1.0)


def test_an_adapter_on_the_output_head_is_refused(llama):
    policy = attach_adapter(llama(), SvfAdapter(targets=("q_proj", "lm_head")), seed=0)
    with pytest.raises(ModelError, match="output head must be frozen"):
        LocalLearner(policy, LearnerConfig(), LossConfig(), total_steps=1, temperature=1.0)


class Cut(nn.Linear):
    """Passes no gradient on to its input once it has run without gradients, as 4-bit layers do."""

    cuts = False

    def forward(self, x):
        self.cuts |= not torch.is_grad_enabled()
        return super().forward(x.detach() if self.cuts else x)


@pytest.mark.parametrize("adapter", [SvfAdapter(), LoraFamilyAdapter(type="lora")])
def test_a_layer_that_cuts_gradients_is_refused_before_the_first_step(llama, adapter):
    base = llama()
    old = base.model.layers[1].mlp.up_proj
    cut = Cut(old.in_features, old.out_features, bias=False)
    cut.load_state_dict(old.state_dict())
    base.model.layers[1].mlp.up_proj = cut.requires_grad_(False)
    policy = attach_adapter(base, adapter, seed=0)
    with pytest.raises(ModelError, match=r"must pass gradients on.*Cut .*layers\.1\.mlp\.up_proj"):
        LocalLearner(policy, LearnerConfig(), LossConfig(), total_steps=1, temperature=1.0)


def test_4_bit_layers_are_kept_from_repacking_their_weights(llama):
    base = llama()
    base.model.layers[0].mlp.up_proj.support_avx512bf16_for_cpu = True
    policy = attach_adapter(base, LoraFamilyAdapter(type="lora"), seed=0)
    LocalLearner(policy, LearnerConfig(), LossConfig(), total_steps=1, temperature=1.0)
    assert base.model.layers[0].mlp.up_proj.base_layer.support_avx512bf16_for_cpu is False


def test_a_trainable_tensor_without_a_gradient_stops_the_first_step(llama):
    learner = make(llama)
    start = learner.adapter_state().digest
    learner.forward_backward(SAMPLES)
    for p in list(learner.parameters.values())[:2]:
        p.grad = None
    with pytest.raises(ModelError, match=r"2 of 14 have none, first .*layers\.0.*q_proj"):
        learner.optim_step()
    assert learner.adapter_state().digest == start
    assert all(p.grad is None for p in learner.parameters.values())


def test_a_first_batch_without_any_gradient_does_not_stop_the_next(llama):
    learner = make(llama)
    learner.step([Sample((1, 2), (), (), 1.0)])
    learner.forward_backward(SAMPLES)
    next(iter(learner.parameters.values())).grad = None
    with pytest.raises(ModelError, match="1 of 14 have none"):
        learner.optim_step()


@pytest.mark.parametrize("adapter", EVERY_ADAPTER, ids=lambda adapter: adapter.type)
def test_every_adapter_starts_from_another_at_a_kl_of_nothing_and_is_drawn_back_to_it(
    llama, adapter
):
    kl = {}
    other = make(llama, adapter=adapter)
    perturb(other, 0.03)
    for reference in ("start", "base"):
        loss = LossConfig(kl_coef=0.1, kl="full", reference=reference)
        learner = make(llama, adapter=adapter, loss=loss)
        learner.start_from(other.adapter_state())
        assert learner.adapter_state().digest == other.adapter_state().digest
        kl[reference] = [learner.step(SAMPLES)["kl"] for _ in range(2)]
        kept = learner.adapter_state().digest
        learner.forward_backward(SAMPLES)
        assert learner.adapter_state().digest == kept
    assert abs(kl["start"][0]) < 1e-6
    assert kl["start"][1] > 1e-6
    assert kl["base"][0] > 1e-6


def test_a_start_is_the_reference_of_a_learner_that_goes_on_from_a_checkpoint(llama):
    loss = LossConfig(kl_coef=0.1, reference="start")
    start = make(llama)
    perturb(start)
    whole, first, second = (make(llama, loss=loss) for _ in range(3))
    for learner in (whole, first, second):
        learner.start_from(start.adapter_state())
    expected = [whole.step(SAMPLES) for _ in range(2)][1]
    first.step(SAMPLES)
    second.load_state_dict(first.state_dict())
    assert second.step(SAMPLES) == expected
