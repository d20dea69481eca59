"""Figures of several samples a problem, against enumeration, simulation and the bootstrap."""

import random
from itertools import combinations
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpeft.experts.clustered import (
    corrected_level,
    difference,
    mean_estimate,
    pass_at_k,
    share_estimate,
)
from rlpeft.experts.intervals import wilson_interval
from rlpeft.experts.measures import Accuracy
from rlpeft.experts.student import student_quantile


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 8))
def test_pass_at_k_is_the_share_of_all_choices_of_k_with_one_that_is_correct(samples, k):
    k = min(k, len(samples))
    choices = [any(chosen) for chosen in combinations(samples, k)]
    assert pass_at_k(sum(samples), len(samples), k) == pytest.approx(fmean(choices))


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_one_answer_a_problem_has_the_interval_of_a_plain_accuracy(answers):
    found, plain = (
        share_estimate(answers, draws=len(answers)),
        Accuracy.of(sum(answers), len(answers)),
    )
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


def test_samples_that_repeat_each_other_are_no_further_evidence():
    problems = [1.0] * 30 + [0.0] * 20
    once, often = (share_estimate(problems, draws=draws) for draws in (50, 50 * 64))
    assert often == once


def test_samples_that_owe_nothing_to_their_problem_are_as_many_draws():
    """Each of 50 problems right in 3 of 4: no spread at all, and no more than 200 draws.

    t(199) = 1.971957 and t(49) = 2.009575 (scipy.stats.t) take 0.9629 of them.
    """
    found = share_estimate([0.75] * 50, draws=200)
    worth = (1.971957 / 2.009575) ** 2
    expected = wilson_interval(150 * worth, 200 * worth)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-6)


def test_few_problems_are_little_evidence_however_often_they_are_tried():
    """Shares 1/4, 1/2 and 1 of 8 samples; derived with scipy.stats.t.ppf, see `share_estimate`."""
    found = share_estimate([0.25, 0.5, 1.0], draws=24)
    assert (found.low, found.high) == pytest.approx((0.139359, 0.923690), abs=1e-6)
    alone, plain = share_estimate([0.5], draws=1000), wilson_interval(0.5, 1)
    assert (alone.low, alone.high) == pytest.approx(plain)


def drawn(rng, problems, samples):
    """Problems of difficulties that are far apart, each tried several times."""
    chances = rng.beta(0.5, 0.5, problems)
    return rng.binomial(samples, chances) / samples


@pytest.mark.parametrize("problems", [30, 120])
def test_the_interval_holds_the_truth_as_often_as_it_says_where_samples_cluster(problems):
    rng, held, naive = np.random.default_rng(0), [], []
    for _ in range(600):
        values = drawn(rng, problems, 8)
        found = share_estimate(values.tolist(), draws=8 * problems)
        low, high = wilson_interval(8 * values.sum(), 8 * problems)
        held.append(found.low <= 0.5 <= found.high)
        naive.append(low <= 0.5 <= high)
    assert 0.925 <= fmean(held) <= 0.98
    assert fmean(naive) < 0.75


def test_the_interval_is_that_of_a_bootstrap_over_problems():
    rng = np.random.default_rng(1)
    values = drawn(rng, 200, 4)
    means = rng.choice(values, (4000, len(values))).mean(1)
    found = share_estimate(values.tolist(), draws=4 * len(values))
    low, high = np.quantile(means, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.004)


@given(st.lists(st.tuples(st.floats(2, 12), st.floats(2, 12)), min_size=3, max_size=20))
def test_the_difference_of_mean_scores_is_the_mean_of_paired_differences(pairs):
    ours, theirs = zip(*pairs, strict=True)
    found = difference(ours, theirs, mean_estimate(ours), mean_estimate(theirs))
    gaps = [one - other for one, other in pairs]
    mean, half = fmean(gaps), student_quantile(0.95, len(gaps) - 1) * stdev(gaps) / len(gaps) ** 0.5
    assert found.value == pytest.approx(mean, abs=1e-9)
    if min(stdev(ours), stdev(theirs)) > 1e-3:
        assert (found.low, found.high) == pytest.approx((mean - half, mean + half), abs=1e-3)


@pytest.mark.parametrize("level", [0.95, 0.99])
def test_paired_differences_hold_the_truth_as_often_as_they_say(level):
    """Two policies on the same hard and easy problems, one of them better by a twentieth."""
    rng, held, narrower = np.random.default_rng(2), [], []
    for _ in range(600):
        chances = rng.beta(0.5, 0.5, 60)
        better = chances + 0.1 * (1 - chances)
        pairs = [(rng.binomial(4, c) / 4).tolist() for c in (better, chances)]
        sides = [share_estimate(values, draws=240, level=level) for values in pairs]
        found = difference(*pairs, *sides)
        held.append(found.low <= 0.05 <= found.high)
        narrower.append(found.high - found.low < sides[0].high - sides[0].low)
    assert level - 0.025 <= fmean(held) <= level + 0.025
    assert fmean(narrower) > 0.95


def test_differences_that_are_all_alike_still_have_a_width():
    ours, theirs = [1.0] * 8, [0.0] * 8
    sides = [share_estimate(values, draws=8) for values in (ours, theirs)]
    found = difference(ours, theirs, *sides)
    assert found.low < 0.75
    assert found.high == 1.0


def test_corrected_intervals_miss_together_no_more_often_than_one():
    rng = random.Random(3)
    level, missed = corrected_level(12), 0
    for _ in range(400):
        found = (
            mean_estimate([rng.gauss(0, 1) for _ in range(60)], level=level) for _ in range(12)
        )
        missed += any(not each.low <= 0 <= each.high for each in found)
    assert corrected_level(1) == pytest.approx(0.95)
    assert missed / 400 <= 0.08
