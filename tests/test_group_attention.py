"""Attention over groups against each completion alone behind its prompt."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from rlpeft.group_attention import Groups, group_attention

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
    layer.num_key_value_groups, layer.is_causal = 2, True
    return layer


def textbook(q, k, v):
    """Causal softmax attention of [H, T, D], two query heads to a key head."""
    k, v = k.repeat_interleave(2, 0), v.repeat_interleave(2, 0)
    scores = q @ k.mT / 8**0.5
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return (scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v).transpose(0, 1)


@given(sizes=sizes)
def test_each_completion_attends_as_if_it_stood_alone_behind_its_prompt(sizes):
    q, k, v = tensors(sum(prompt + sum(members) for prompt, members in sizes))
    output, _ = group_attention(module(), q, k, v, None, groups=Groups.of(sizes))
    start = 0
    for prompt, members in sizes:
        span = list(range(start, start + prompt))
        alone = textbook(q[0, :, span], k[0, :, span], v[0, :, span])
        assert_close(output[0, span], alone, rtol=1e-9, atol=1e-9)
        start += prompt
        for length in members:
            own = list(range(start, start + length))
            seen = span + own
            alone = textbook(q[0, :, seen], k[0, :, seen], v[0, :, seen])
            assert_close(output[0, own], alone[prompt:], rtol=1e-9, atol=1e-9)
            start += length


def test_padding_has_no_gradient_and_no_nan():
    sizes = [(3, [4, 1]), (1, [2])]
    q, k, v = (x.requires_grad_() for x in tensors(11))
    output, _ = group_attention(module(), q, k, v, None, groups=Groups.of(sizes))
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
