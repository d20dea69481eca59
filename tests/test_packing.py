"""Packing loses nothing, invents nothing, and answers sharing a prompt never see each other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlpeft.packing import PADDING, ROW_TOKENS, Sample, pack

ids = st.lists(st.integers(0, 5), min_size=1, max_size=6).map(tuple)
samples = st.lists(
    st.tuples(st.sampled_from([(1,), (1, 2), (3, 3, 3)]), st.lists(st.integers(0, 5), max_size=6)),
    min_size=1,
    max_size=12,
).map(
    lambda rows: [
        Sample(prompt, tuple(completion), tuple(-0.5 * i for i in range(len(completion))), float(n))
        for n, (prompt, completion) in enumerate(rows)
    ]
)


def recover(batch):
    """(prompt, completion, logprobs, advantage) of every completion, read back from the tensors."""
    found, n = [], 0
    for b in range(len(batch.tokens_BT)):
        segments = batch.segments_BT[b]
        prompt = tuple(batch.tokens_BT[b][segments == 0].tolist())
        for number in range(1, int(segments.max()) + 1):
            tokens = batch.tokens_BT[b][segments == number]
            span = slice(n, n + len(tokens))
            assert batch.targets_N[span].tolist() == tokens.tolist()
            logprobs = tuple(batch.logprobs_N[span].tolist())
            found.append((prompt, tuple(tokens.tolist()), logprobs, float(batch.advantages_N[n])))
            n += len(tokens)
    assert n == len(batch.targets_N)
    return found


@given(rows=samples, budget=st.integers(1, 60))
def test_every_completion_is_packed_exactly_once(rows, budget):
    found = [item for batch in pack(rows, token_budget=budget) for item in recover(batch)]
    expected = [
        (s.prompt_ids, s.completion_ids, s.logprobs, s.advantage) for s in rows if s.completion_ids
    ]
    assert sorted(found) == sorted(expected)


@given(rows=samples, budget=st.integers(1, 60))
def test_micro_batches_keep_the_token_budget(rows, budget):
    for batch in pack(rows, token_budget=budget):
        assert batch.tokens_BT.numel() <= budget or len(batch.tokens_BT) == 1


@given(rows=samples, budget=st.integers(1, 60))
def test_sources_are_the_positions_before_their_targets(rows, budget):
    for batch in pack(rows, token_budget=budget):
        positions, segments = batch.positions_BT.flatten(), batch.segments_BT.flatten()
        attention = batch.attention()[:, 0]
        num_tokens = batch.tokens_BT.shape[1]
        own = (segments > 0).nonzero().flatten()
        assert len(own) == len(batch.sources_N)
        for source, place in zip(batch.sources_N.tolist(), own.tolist(), strict=True):
            assert positions[source] == positions[place] - 1
            assert segments[source] in (0, segments[place])
            b, t = divmod(place, num_tokens)
            seen = {int(segments[b * num_tokens + j]) for j in attention[b, t].nonzero()}
            assert seen <= {0, int(segments[place])}


@given(rows=samples, budget=st.integers(1, 60), kind=st.sampled_from(["sequence", "token"]))
def test_weights_are_fixed_over_the_whole_step(rows, budget, kind):
    batches = pack(rows, token_budget=budget, normalise=kind)
    count = len(rows) if kind == "sequence" else sum(len(s.completion_ids) for s in rows)
    for batch in batches:
        assert batch.weights_N.tolist() == pytest.approx([1 / count] * len(batch.weights_N))


def test_a_group_pays_for_its_prompt_once():
    rows = [Sample(tuple(range(40)), (1,) * 5, (0.0,) * 5, 1.0)] * 8
    (batch,) = pack(rows, token_budget=10_000)
    assert batch.tokens_BT.shape == (1, 80)


def test_rows_stop_growing_where_attention_would_cost_more_than_prompts():
    rows = [Sample((1, 2), (1,) * 400, (0.0,) * 400, 1.0)] * 5
    lengths = [len(t) for batch in pack(rows, token_budget=1) for t in batch.tokens_BT]
    assert lengths == [802, 802, 402]
    assert max(lengths) <= ROW_TOKENS


def test_end_of_sequence_keeps_its_weight_when_it_is_also_the_padding_token():
    rows = [Sample((0,), (4, 0), (0.0, 0.0), 1.0), Sample((0, 0, 0), (4, 4, 0), (0.0,) * 3, 1.0)]
    (batch,) = pack(rows, token_budget=100)
    assert batch.targets_N.tolist() == [4, 4, 0, 4, 0]
    assert (batch.segments_BT == PADDING).sum() == 3


def test_padding_always_sees_something():
    rows = [Sample((1,), (2,), (0.0,), 1.0), Sample((1, 2, 3), (4, 5), (0.0, 0.0), 1.0)]
    (batch,) = pack(rows, token_budget=100)
    assert bool(batch.attention().any(-1).all())
    assert batch.attention().dtype == torch.bool
