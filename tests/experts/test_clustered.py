"""Figures of several samples a problem, against enumeration, simulation and the bootstrap."""

import random
from itertools import combinations
from math import factorial, prod
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
from rlpeft.experts.intervals import largest_score, wilson_interval
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


@given(st.lists(st.tuples(st.floats(-12, -2), st.floats(-12, -2)), min_size=3, max_size=20))
def test_the_difference_of_mean_scores_is_the_mean_of_paired_differences(pairs):
    ours, theirs = zip(*pairs, strict=True)
    sides = mean_estimate(ours), mean_estimate(theirs)
    found = difference(ours, theirs, *sides, most=None)
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
    assert level - 0.025 <= fmean(held) <= level + 0.03
    assert fmean(narrower) > 0.95


def answered(table):
    """The answers of two policies: both right, only the first, only the second, both wrong."""
    kinds = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]
    pairs = [kind for kind, count in zip(kinds, table, strict=True) for _ in range(count)]
    return [list(values) for values in zip(*pairs, strict=True)]


def difference_of_table(table):
    ours, theirs = answered(table)
    sides = (share_estimate(values, draws=len(values)) for values in (ours, theirs))
    return difference(ours, theirs, *sides)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    # Newcombe's method 10, as published: M. W. Fagerland, S. Lydersen and P. Laake, Statistics in
    # Medicine 33, 2014, on the data of Bentur et al. (2009) and of Cavo et al. (2012); D. G. Altman
    # et al., Statistics with Confidence, 2000, table 6.2, which prints two places.
    [
        ((1, 1, 7, 12), -0.507, -0.026),
        ((59, 6, 16, 80), -0.1186, -0.0046),
        ((14, 5, 0, 22), 0.01, 0.23),
    ],
)
def test_a_paired_difference_of_one_answer_a_problem_is_newcombes(table, low, high):
    found = difference_of_table(table)
    places = 2 if table[0] == 14 else 3 if table[0] == 1 else 4
    assert (round(found.low, places), round(found.high, places)) == (low, high)


@pytest.mark.parametrize(("right", "wrong"), [(15, 15), (21, 9), (27, 3), (0, 200), (120, 80)])
def test_policies_that_answer_alike_may_differ_where_nobody_looked(right, wrong):
    """The rule of three: 1 - 0.05^(1 / 30) = 0.0950, and 0.0149 of 200."""
    found = difference_of_table((right, 0, 0, wrong))
    least = {30: 0.09503, 200: 0.01487}[right + wrong]
    assert found.high == -found.low
    assert least - 1e-5 <= found.high < 1.6 * least


def test_one_problem_that_tells_policies_apart_leaves_no_less_room_than_none():
    none, one = difference_of_table((20, 0, 0, 10)), difference_of_table((20, 1, 0, 9))
    assert one.high >= none.high


@pytest.mark.parametrize("alike", [[0.25, 0.5, 0.75] * 10, [3.0, 7.0] * 15, [-3.0, 1.0] * 15])
def test_equal_scores_of_both_policies_are_no_certainty(alike):
    """The rule of three is in units of the largest score, or of the range of scores below 0."""
    most = largest_score(alike)
    side = mean_estimate(alike)
    found = difference(alike, alike, side, side, most=most)
    furthest = 4.0 if most is None else max(alike)
    assert (found.value, found.high) == pytest.approx((0.0, furthest * 0.09503), abs=1e-4)


def test_equal_scores_whose_mean_is_rounded_have_no_correlation():
    alike = [0.7] * 3  # three times 0.7, by three, is not 0.7
    figure = share_estimate(alike, draws=3)
    found = difference(alike, alike, figure, figure)
    assert found.value == 0
    assert found.low < 0 < found.high


def test_an_interval_of_a_higher_level_leaves_more_room():
    values = [1.0, 0.0] * 20
    sides = [share_estimate(values, draws=40, level=0.99)] * 2
    found = difference(values, values, *sides, level=0.99)
    assert found.high == pytest.approx(1 - 0.01 ** (1 / 40))


def tables(number):
    """Every table of so many problems."""
    for both in range(number + 1):
        for ours in range(number - both + 1):
            for theirs in range(number - both - ours + 1):
                yield both, ours, theirs, number - both - ours - theirs


def chances_of(cells, every):
    """Of each table, drawn from cells of these chances."""
    number = sum(every[0])
    for table in every:
        ways = factorial(number) / prod(map(factorial, table))
        yield ways * prod(p**count for p, count in zip(cells, table, strict=True))


def test_paired_differences_hold_the_truth_though_policies_hardly_differ():
    """Exact, over all tables of 20 problems.

    Simulated over 5 to 200 problems, 5 to 95 % right, 0 to 30 % told apart, in both ways or in one,
    the interval held the truth in this many of 100 cases, without the correction and with it:

        one answer a problem              lowest 51 and 91, mean 97 and 99
        four answers to each              lowest 59 and 91, mean 96 and 99
        scores, three grades or smooth    lowest 18 and 90, mean 94 and 99
    """
    every = list(tables(20))
    found = [difference_of_table(table) for table in every]
    held = {}
    for right in (0.2, 0.5, 0.8):
        for apart in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3):
            for gained in (0.5, 1.0):
                ours, theirs = apart * gained, apart * (1 - gained)
                cells = right - apart / 2, ours, theirs, 1 - right - apart / 2
                chances = chances_of(cells, every)
                held[cells] = sum(
                    chance
                    for chance, each in zip(chances, found, strict=True)
                    if each.low <= ours - theirs <= each.high
                )
    assert min(held.values()) > 0.925
    assert fmean(held.values()) > 0.96


@pytest.mark.parametrize("samples", [1, 4])
def test_paired_differences_of_several_samples_hold_the_truth_where_few_problems_tell(samples):
    """One problem of fifty is solved by one policy alone, the others by both alike."""
    rng, held = np.random.default_rng(4), []
    for _ in range(200):
        alike = rng.binomial(samples, 0.5, 50) / samples
        solved = rng.random(50) < 0.02
        pairs = [np.where(solved, alone, alike).tolist() for alone in (1.0, 0.0)]
        sides = [share_estimate(values, draws=samples * 50) for values in pairs]
        found = difference(*pairs, *sides)
        held.append(found.low <= 0.02 <= found.high)
    assert fmean(held) >= 0.92


def test_differences_that_are_all_alike_still_have_a_width():
    ours, theirs = [1.0] * 8, [0.0] * 8
    sides = [share_estimate(values, draws=8) for values in (ours, theirs)]
    found = difference(ours, theirs, *sides)
    assert found.low < 0.75
    assert found.high == 1.0


@pytest.mark.slow
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
