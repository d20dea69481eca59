"""Attention over groups against each completion alone behind its prompt."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from rlpeft.errors import ModelError
from rlpeft.models.mechanisms import Mechanisms
from rlpeft.training.group_attention import LayerGroups, group_attention
from rlpeft.training.group_layout import Groups

sizes = st.lists(
    st.tuples(st.integers(1, 5), st.lists(st.integers(1, 4), min_size=1, max_size=4)),
    min_size=1,
    max_size=3,
)


def tensors(num_tokens):
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, 4, num_tokens, 8), (1, 2, num_tokens, 8), (1, 2, num_tokens, 8))
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def module():
    layer = nn.Module()
    layer.num_key_value_groups, layer.is_causal, layer.layer_idx = 2, True, 0
    return layer


def layout(sizes, window=None, **mechanisms):
    return LayerGroups(Groups.of(sizes), Mechanisms((window,), **mechanisms))


def textbook(q, k, v, *, window=None, cap=None, sinks=None):
    """Causal softmax attention of [H, T, D], two query heads to a key head."""
    k, v = k.repeat_interleave(2, 0), v.repeat_interleave(2, 0)
    scores = q @ k.mT / 8**0.5
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    at = torch.arange(scores.shape[-1])
    back = at[:, None] - at
    hidden = (back < 0) | (back >= (window or len(at)))
    weights = scores.masked_fill(hidden, -torch.inf).exp()
    total = weights.sum(-1, keepdim=True)
    total = total if sinks is None else total + sinks.exp()[:, None, None]
    return (weights / total @ v).transpose(0, 1)


@given(
    sizes=sizes,
    window=st.sampled_from([None, 1, 2, 3, 4]),
    cap=st.sampled_from([None, 0.5]),
    sinks=st.sampled_from([None, torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64)]),
)
def test_each_completion_attends_as_if_it_stood_alone_behind_its_prompt(sizes, window, cap, sinks):
    q, k, v = tensors(sum(prompt + sum(members) for prompt, members in sizes))
    groups = layout(sizes, window, attention_cap=cap)
    asked = {"sliding_window": window, "softcap": cap, "s_aux": sinks}
    output, _ = group_attention(module(), q, k, v, None, groups=groups, **asked)
    form = {"window": window, "cap": cap, "sinks": sinks}
    start = 0
    for prompt, members in sizes:
        span = list(range(start, start + prompt))
        alone = textbook(q[0, :, span], k[0, :, span], v[0, :, span], **form)
        assert_close(output[0, span], alone, rtol=1e-6, atol=1e-6)
        start += prompt
        for length in members:
            own = list(range(start, start + length))
            seen = span + own
            alone = textbook(q[0, :, seen], k[0, :, seen], v[0, :, seen], **form)
            assert_close(output[0, own], alone[prompt:], rtol=1e-6, atol=1e-6)
            start += length


def test_padding_has_no_gradient_and_no_nan():
    sizes = [(3, [4, 1]), (1, [2])]
    q, k, v = (x.requires_grad_() for x in tensors(11))
    output, _ = group_attention(module(), q, k, v, None, groups=layout(sizes))
    output.sum().backward()
    assert all(bool(torch.isfinite(x.grad).all()) for x in (q, k, v))
    # Token 7, alone in its completion, is seen by nothing but itself.
    assert_close(v.grad[0, :, 7].sum(), q.new_tensor(2 * 2 * 8) * _own_weight(q, k, 7, (0, 1, 2)))


def _own_weight(q, k, token, prompt):
    """Mean softmax weight that a token gives itself, over the heads."""
    keys = k[0].repeat_interleave(2, 0)[:, [*prompt, token]]
    weights = (torch.einsum("hd,hkd->hk", q[0, :, token], keys) / 8**0.5).softmax(-1)
    return weights[:, -1].mean()


def test_without_groups_it_is_plain_causal_attention():
    q, k, v = tensors(6)
    output, _ = group_attention(module(), q, k, v, None)
    assert_close(output[0], textbook(q[0], k[0], v[0]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cap", [None, 0.5])
def test_without_groups_caps_and_sinks_are_kept(cap):
    q, k, v = tensors(6)
    sinks = torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64)
    output, _ = group_attention(module(), q, k, v, None, softcap=cap, s_aux=sinks)
    wanted = textbook(q[0], k[0], v[0], cap=cap, sinks=sinks)
    assert_close(output[0], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sliding_window": 3}, "expected 2, as its config says, got sliding_window = 3"),
        ({"softcap": 50.0}, "got softcap = 50.0"),
        ({"position_bias": torch.zeros(1)}, "expected no such option, got position_bias"),
        ({"is_causal": False}, "expected causal attention"),
    ],
)
def test_a_layer_that_asks_for_something_else_than_its_config_says_is_refused(asked, message):
    q, k, v = tensors(3)
    with pytest.raises(ModelError, match=message):
        group_attention(module(), q, k, v, None, groups=layout([(2, [1])], 2), **asked)


def test_a_cap_in_the_config_that_no_layer_asks_for_is_refused():
    q, k, v = tensors(3)
    groups = layout([(2, [1])], attention_cap=50.0)
    with pytest.raises(ModelError, match=r"expected 50.0, as its config says, got softcap = None"):
        group_attention(module(), q, k, v, None, groups=groups)
