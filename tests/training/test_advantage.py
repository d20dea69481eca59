"""Advantages against hand-worked numbers and their algebra."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpeft.training.advantage import ADVANTAGES, batch_mean, carries_signal, group_norm, none, rloo

scores = st.one_of(st.none(), st.floats(-2, 2, allow_nan=False))
tables = st.lists(st.lists(scores, min_size=1, max_size=6), min_size=1, max_size=5)


def test_none_maps_rewards_to_plus_and_minus_one():
    assert none([[1.0, 0.0, None]]) == [[1.0, -1.0, 0.0]]


def test_none_gives_wrong_answers_what_is_asked_for():
    assert none([[1.0, 0.0, 0.5, None]], wrong=-0.1) == [[1.0, -0.1, pytest.approx(0.45), 0.0]]


def test_batch_mean_subtracts_the_mean_of_the_batch():
    assert batch_mean([[1.0, 0.0], [0.0, None]]) == [
        [pytest.approx(2 / 3), pytest.approx(-1 / 3)],
        [pytest.approx(-1 / 3), 0.0],
    ]


def test_leave_one_out_compares_with_the_others():
    # 1 against the mean 1/3 of (1, 0, 0); 0 against the mean 2/3 of (1, 1, 0).
    assert rloo([[1.0, 1.0, 0.0, 0.0]])[0] == pytest.approx([2 / 3, 2 / 3, -2 / 3, -2 / 3])


def test_group_norm_divides_by_the_sample_deviation():
    # Mean 1/2, sample variance 4 (1/2)^2 / 3 = 1/3.
    expected = 0.5 / (3**-0.5 + 1e-4)
    assert group_norm([[1.0, 1.0, 0.0, 0.0]])[0] == pytest.approx([expected] * 2 + [-expected] * 2)


@pytest.mark.parametrize("kind", ["rloo", "group_norm"])
def test_constant_group_gets_zero_advantage(kind):
    assert ADVANTAGES[kind]([[1.0, 1.0, 1.0]]) == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("kind", ["rloo", "group_norm"])
def test_a_single_scored_completion_gets_zero_advantage(kind):
    assert ADVANTAGES[kind]([[None, 1.0, None]]) == [[0.0, 0.0, 0.0]]


@given(rewards=tables, kind=st.sampled_from(["batch_mean", "rloo", "group_norm"]))
def test_advantages_sum_to_zero(rewards, kind):
    table = ADVANTAGES[kind](rewards)
    assert sum(sum(row) for row in table) == pytest.approx(0, abs=1e-6)


@given(rewards=tables, kind=st.sampled_from(["batch_mean", "rloo"]), shift=st.floats(-5, 5))
def test_a_constant_added_to_all_rewards_changes_nothing(rewards, kind, shift):
    shifted = [[None if r is None else r + shift for r in group] for group in rewards]
    for before, after in zip(ADVANTAGES[kind](rewards), ADVANTAGES[kind](shifted), strict=True):
        assert after == pytest.approx(before, abs=1e-6)


@given(rewards=tables, kind=st.sampled_from(sorted(ADVANTAGES)))
def test_unscored_completions_have_no_advantage_and_no_influence(rewards, kind):
    table = ADVANTAGES[kind](rewards)
    scored = [[r for r in group if r is not None] for group in rewards]
    without = ADVANTAGES[kind](scored)
    for group, row, kept in zip(rewards, table, without, strict=True):
        assert [a for r, a in zip(group, row, strict=True) if r is None] == [0.0] * group.count(
            None
        )
        assert [a for r, a in zip(group, row, strict=True) if r is not None] == pytest.approx(kept)


@given(group=st.lists(scores, min_size=1, max_size=6), seed=st.randoms(use_true_random=False))
def test_order_within_a_group_does_not_matter(group, seed):
    order = list(range(len(group)))
    seed.shuffle(order)
    for kind in ("rloo", "group_norm"):
        straight = ADVANTAGES[kind]([group])[0]
        shuffled = ADVANTAGES[kind]([[group[i] for i in order]])[0]
        assert shuffled == pytest.approx([straight[i] for i in order], abs=1e-9)


def test_signal_needs_two_different_scores():
    assert carries_signal([1.0, None, 0.0])
    assert not carries_signal([1.0, None, 1.0])
    assert not carries_signal([None, None])
