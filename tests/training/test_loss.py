"""The objective against numbers worked by hand in float64 and against textbook gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from rlpeft.training.loss import full_kl, importance_ratio, reinforce, sampled_kl, token_terms

PI = torch.tensor([0.7, 0.2, 0.1]).log()[None]
BASE = torch.tensor([0.5, 0.3, 0.2]).log()[None]


def terms(hidden, targets, *, base=None, kl="full", chunk=100, temperature=1.0, head=lambda h: h):
    return token_terms(
        hidden, base, targets, head=head, temperature=temperature, kl=kl, chunk=chunk
    )


def test_reinforce_is_the_worked_example():
    """Tokens (0, 1): Σ log π = -0.647151; r = -1 in a batch of 4."""
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]])
    found = terms(logits, torch.tensor([0, 1]))
    assert float(found.logprobs_N.sum()) == pytest.approx(-0.647151, abs=1e-6)
    ones, quarter = torch.ones(2), torch.full((2,), 0.25)
    assert float(reinforce(found, ones, -ones, quarter, 0.0)) == pytest.approx(-0.161788, abs=1e-6)
    assert float(reinforce(found, ones, ones, quarter, 0.0)) == pytest.approx(0.161788, abs=1e-6)


def test_both_directions_of_the_full_kl():
    assert float(full_kl(PI, BASE)) == pytest.approx(0.085123, abs=1e-6)
    assert float(full_kl(BASE, PI)) == pytest.approx(0.092033, abs=1e-6)


@pytest.mark.parametrize(("kl", "expected"), [("full", 0.085123), ("full_reverse", 0.092033)])
def test_the_direction_of_the_full_kl_is_as_named(kl, expected):
    found = terms(PI, torch.tensor([0]), base=BASE, kl=kl)
    assert float(found.kl_N) == pytest.approx(expected, abs=1e-6)


@given(logits=st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=8))
def test_kl_to_itself_is_zero_and_never_negative(logits):
    log_p = torch.log_softmax(torch.tensor([logits]), -1)
    log_q = torch.log_softmax(torch.tensor([logits[::-1]]), -1)
    assert float(full_kl(log_p, log_p)) == 0.0
    assert float(full_kl(log_p, log_q)) >= -1e-6


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_sampled_kl_is_unbiased(kind):
    """E over tokens drawn from π equals KL(π ‖ base)."""
    values = sampled_kl(PI[0], BASE[0], kind)
    assert float((PI[0].exp() * values).sum()) == pytest.approx(0.085123, abs=1e-6)


def gradient(loss_of_logits) -> torch.Tensor:
    logits = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(loss_of_logits(torch.log_softmax(logits, -1)), logits)
    return grad


@pytest.mark.parametrize(("kind", "reverse"), [("k1", False), ("k3", True)])
def test_sampled_kl_has_the_gradient_it_claims(kind, reverse):
    """The mean gradient of k1 is that of KL(π ‖ base), of k3 that of KL(base ‖ π)."""
    base = BASE[0].double()

    def sampled(log_pi):
        return (log_pi.exp().detach() * sampled_kl(log_pi, base, kind)).sum()

    def exact(log_pi):
        return full_kl(base, log_pi) if reverse else full_kl(log_pi, base)

    assert_close(gradient(sampled), gradient(exact), rtol=1e-9, atol=1e-12)


def test_chunks_change_nothing():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(7, 5, generator=generator, requires_grad=True)
    base = torch.randn(7, 5, generator=generator)
    targets = torch.arange(7) % 5
    results = []
    for chunk in (1, 3, 100):
        found = terms(hidden, targets, base=base, chunk=chunk)
        (grad,) = torch.autograd.grad((found.logprobs_N + found.kl_N).sum(), hidden)
        results.append((found.logprobs_N, found.kl_N, found.entropy_N, grad))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kl", ["full", "full_reverse", "k1", "k3"])
def test_gradients_are_those_of_autograd_through_all_logits(kl):
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(6, 11).requires_grad_(False)
    hidden, base = (torch.randn(7, 6, generator=generator) for _ in range(2))
    targets = torch.arange(7) % 11
    slopes_N, kl_slopes_N = torch.randn(2, 7, generator=generator)

    def textbook(hidden):
        log_pi, log_base = (torch.log_softmax(head(h) / 0.7, -1) for h in (hidden, base))
        logprobs, base_logprobs = (x[range(7), targets] for x in (log_pi, log_base))
        kinds = {
            "full": lambda: full_kl(log_pi, log_base),
            "full_reverse": lambda: full_kl(log_base, log_pi),
            "k1": lambda: sampled_kl(logprobs, base_logprobs, "k1"),
            "k3": lambda: sampled_kl(logprobs, base_logprobs, "k3"),
        }
        return logprobs, kinds[kl]()

    def ours(hidden):
        found = terms(hidden, targets, base=base, kl=kl, chunk=3, temperature=0.7, head=head)
        return found.logprobs_N, found.kl_N

    def slope(function):
        leaf = hidden.clone().requires_grad_()
        logprobs_N, kl_N = function(leaf)
        ((slopes_N * logprobs_N).sum() + (kl_slopes_N * kl_N).sum()).backward()
        return leaf.grad

    assert_close(slope(ours), slope(textbook), rtol=1e-5, atol=1e-6)


def test_temperature_divides_the_logits():
    found = terms(torch.tensor([[2.0, 0.0]]), torch.tensor([0]), temperature=2.0)
    assert float(found.logprobs_N) == pytest.approx(math.log(math.e / (math.e + 1)), abs=1e-6)


def test_entropy_of_a_uniform_policy_is_log_of_its_size():
    found = terms(torch.zeros(1, 8), torch.tensor([3]))
    assert float(found.entropy_N) == pytest.approx(math.log(8), abs=1e-6)


def test_bf16_logits_are_summed_in_float32():
    hidden = torch.zeros(1, 40_000, dtype=torch.bfloat16)
    found = terms(hidden, torch.tensor([0]))
    assert found.logprobs_N.dtype == torch.float32
    assert float(found.logprobs_N) == pytest.approx(-math.log(40_000), rel=1e-6)


def test_importance_ratio_is_capped_and_has_no_gradient():
    logprobs = torch.tensor([-1.0, -1.0], requires_grad=True)
    ratio = importance_ratio(logprobs, torch.tensor([-1.5, -9.0]), 2.0)
    assert_close(ratio, torch.tensor([math.exp(0.5), 2.0]))
    assert not ratio.requires_grad


def test_without_a_cap_the_ratio_is_one():
    assert_close(importance_ratio(torch.tensor([-1.0]), torch.tensor([-9.0]), 0.0), torch.ones(1))


def test_ratio_one_gives_the_gradient_of_reinforce():
    logits = torch.tensor([[0.2, -0.1, 0.4]], requires_grad=True)
    found = terms(logits, torch.tensor([2]))
    ratio = importance_ratio(found.logprobs_N, found.logprobs_N.detach(), 2.0)
    loss = reinforce(found, ratio, torch.tensor([1.5]), torch.tensor([1.0]), 0.0)
    (grad,) = torch.autograd.grad(loss, logits)
    expected = -1.5 * (torch.eye(3)[2] - torch.softmax(logits.detach(), -1))
    assert_close(grad, expected)
