"""Packing loses nothing, invents nothing, and answers sharing a prompt never see each other."""

import gc
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpeft.training.group_layout import Masks
from rlpeft.training.packing import (
    Extent,
    Hand,
    MicroBatch,
    PackedRow,
    Sample,
    dealt,
    fill_batches,
    fill_rows,
    pack,
)

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
    groups, found, n = batch.groups, [], 0
    for keys, mask in zip(groups.keys_SK, Masks.of(groups).mask_S1CK[:, 0], strict=True):
        seen = keys[mask[-1]]  # the last query sees the prompt and the longest completion
        length = int((batch.positions_T[seen].diff() == 1).cumprod(0).sum()) + 1
        tokens = batch.tokens_T[seen[:length]].tolist()
        size = int(mask[0].sum()) - 1
        completion = tuple(tokens[size:])
        span = slice(n, n + len(completion))
        assert batch.targets_N[span].tolist() == list(completion)
        advantage = float(batch.advantages_N[n])
        prompt, logprobs = tuple(tokens[:size]), tuple(batch.logprobs_N[span].tolist())
        found.append((prompt, completion, logprobs, advantage))
        n += len(completion)
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
        assert len(batch.tokens_T) <= budget or len(batch.groups.completions_SC) == 1


@given(rows=samples, budget=st.integers(1, 60))
def test_sources_are_the_positions_before_their_targets(rows, budget):
    for batch in pack(rows, token_budget=budget):
        is_prompt = [True] * len(batch.tokens_T)
        for completion in batch.groups.completions_SC.tolist():
            for place in completion:
                is_prompt[place] = place == 0  # padding points at token 0, a prompt's
        own = [place for place, prompt in enumerate(is_prompt) if not prompt]
        for source, place in zip(batch.sources_N.tolist(), own, strict=True):
            assert batch.positions_T[source] == batch.positions_T[place] - 1
            assert source == place - 1 or is_prompt[source]


@given(rows=samples, budget=st.integers(1, 60), kind=st.sampled_from(["sequence", "token"]))
def test_weights_are_fixed_over_the_whole_step(rows, budget, kind):
    batches = list(pack(rows, token_budget=budget, normalise=kind))
    count = len(rows) if kind == "sequence" else sum(len(s.completion_ids) for s in rows)
    for batch in batches:
        assert batch.weights_N.tolist() == pytest.approx([1 / count] * len(batch.weights_N))


def test_a_group_pays_for_its_prompt_once():
    rows = [Sample(tuple(range(40)), (1,) * 5, (0.0,) * 5, 1.0)] * 8
    (batch,) = pack(rows, token_budget=10_000)
    assert len(batch.tokens_T) == 80


def test_a_group_above_the_budget_is_split():
    rows = [Sample((1, 2), (1,) * 400, (0.0,) * 400, 1.0)] * 5
    assert [len(batch.tokens_T) for batch in pack(rows, token_budget=1024)] == [802, 802, 402]


def test_groups_of_like_length_share_a_micro_batch():
    rows = [Sample((n,), (1,) * n, (0.0,) * n, 1.0) for n in (2, 9, 3, 8)]
    assert [len(batch.tokens_T) for batch in pack(rows, token_budget=20)] == [19, 7]


def test_end_of_sequence_keeps_its_weight_when_it_is_also_the_padding_token():
    rows = [Sample((0, 0, 0), (4, 4, 0), (0.0,) * 3, 1.0), Sample((0,), (4, 0), (0.0, 0.0), 1.0)]
    (batch,) = pack(rows, token_budget=100)
    assert batch.targets_N.tolist() == [4, 4, 0, 4, 0]


def of_lengths(lengths, *, prompt=200, group=8):
    """Answers of these lengths, `group` to a prompt."""
    answer = ((1,) * max(lengths), (0.0,) * max(lengths))
    return [
        Sample((at // group,) * prompt, answer[0][:size], answer[1][:size], 0.0)
        for at, size in enumerate(lengths)
    ]


@pytest.mark.slow
def test_a_long_answer_among_short_ones_does_not_make_them_as_long():
    lengths = [8000, *[100] * 80]
    padded = Extent(200 + sum(lengths), 1, 200, len(lengths), 8000)
    assert padded.scores > 15 * 16384**2
    for batch in pack(of_lengths(lengths, group=len(lengths)), token_budget=16384):
        assert Masks.of(batch.groups).mask_S1CK.nbytes <= 16384**2


def test_masks_of_long_tailed_answers_are_small_beside_their_activations():
    """2,048 answers, log-normal with a mean of 3,500 tokens; a byte for each score.

    The activations are what checkpointing keeps of a model of 8B in bfloat16: the input of each of
    32 layers, 4,096 wide.
    """
    draw = random.Random(0)
    middle = math.log(3500) - 0.5
    lengths = [min(32768, 1 + int(draw.lognormvariate(middle, 1.0))) for _ in range(2048)]
    rows = sorted(fill_rows(of_lengths(lengths), 16384), key=len, reverse=True)
    extents = []
    for batch in fill_batches(rows, 16384):
        extent = Extent(0)
        for row in batch:
            extent = extent.beside(row.extent)
        extents.append(extent)
    assert sum(extent.completions for extent in extents) == 2048
    assert all(extent.scores <= 2 * extent.tokens * 32 * 4096 * 2 for extent in extents)
    # All at once, as they were made once, they would be a hundred times the largest.
    assert sum(extent.scores for extent in extents) > 50 * max(e.scores for e in extents)


@pytest.mark.slow
def test_one_micro_batch_is_there_at_a_time():
    batches = pack(of_lengths([5] * 64, prompt=2, group=4), token_budget=30)
    for _ in range(3):
        kept = next(batches)
        gc.collect()
        assert [each for each in gc.get_objects() if isinstance(each, MicroBatch)] == [kept]


@pytest.mark.slow
@given(samples, st.integers(1, 30), st.integers(2, 4))
def test_ranks_share_every_completion_once_with_the_weights_of_the_whole_step(rows, budget, ranks):
    parts = [
        list(pack(rows, token_budget=budget, hand=Hand(rank, ranks, 8))) for rank in range(ranks)
    ]
    found = [item for part in parts for batch in part for item in recover(batch)]
    whole = [item for batch in pack(rows, token_budget=budget) for item in recover(batch)]
    assert sorted(found) == sorted(whole)
    batches = [batch for part in parts for batch in part]
    weights = [float(weight) for batch in batches for weight in batch.weights_N]
    assert weights == pytest.approx([1 / len(rows)] * len(weights))
    assert not batches or sum(batch.share for batch in batches) == pytest.approx(1)


def test_a_step_that_fits_one_micro_batch_is_dealt_to_every_rank():
    rows = of_lengths([4] * 8, group=2)
    parts = [list(pack(rows, token_budget=10_000, hand=Hand(rank, 2, 8))) for rank in range(2)]
    sizes = [sum(len(batch.tokens_T) for batch in part) for part in parts]
    assert sizes[0] == sizes[1]


def test_the_dearest_micro_batches_are_dealt_first():
    rows = [PackedRow((1,), (Sample((1,), (2,) * n, (0.0,) * n, 1.0),)) for n in (9, 5, 5, 4, 1)]
    assert dealt([[row] for row in rows], Hand(0, 2, 10**6)) == [[0, 3], [1, 2, 4]]


def test_what_another_has_said_is_read_and_not_learned_from():
    own = (True, False, False, True)
    talk = Sample((1, 2), (3, 4, 5, 6), (-1.0, 0.0, 0.0, -2.0), 0.5, own)
    plain = Sample((1, 2), (3, 4), (-1.0, -3.0), 1.0)
    (batch,) = pack([talk, plain], token_budget=100, normalise="token")
    assert batch.tokens_T.tolist() == [1, 2, 3, 4, 5, 6, 3, 4]
    assert batch.targets_N.tolist() == [3, 6, 3, 4]
    assert batch.sources_N.tolist() == [1, 4, 1, 6]
    assert batch.logprobs_N.tolist() == [-1.0, -2.0, -1.0, -3.0]
    assert batch.advantages_N.tolist() == [0.5, 0.5, 1.0, 1.0]
    assert batch.weights_N.tolist() == [0.25] * 4
