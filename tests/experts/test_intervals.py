"""Intervals against published examples, scipy's quantiles and simulation."""

from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpeft.experts.intervals import largest_score, mean_interval, wilson_interval


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    # Published examples: Brown, Cai and DasGupta (2001); Newcombe (1998), table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_the_published_one(correct, total, low, high):
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=1e-4)


def test_all_right_of_few_is_no_certainty():
    """Of 10 of 10 the lower end is 10 / (10 + 1.959964²), Wilson's in closed form."""
    assert wilson_interval(10, 10) == pytest.approx((0.722467, 1.0), abs=1e-6)
    assert mean_interval([1.0] * 10) == pytest.approx((0.722467, 1.0), abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "low", "high"),
    # With scipy, in units of the largest score: p the mean, m = p(1 - p), z = norm.ppf(0.975),
    # v = (sum((x - p)²) + m) / n, Wilson's interval of p from m n / v (z / t.ppf(0.975, n - 1))².
    [
        ([0.25, 0.25, 1, 1], 0.130625, 0.948685),
        ([0.9, 0.8, 0.7], 0.196058, 0.984987),
        ([1, 1, 1, 1, 0.2, 0.9, 1, 1], 0.510914, 0.983492),
        ([0.7] * 10, 0.7 * 0.722467, 0.7),
    ],
)
def test_the_interval_of_scores_is_the_derived_one(scores, low, high):
    assert mean_interval(scores) == pytest.approx((low, high), abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_scores_have_an_interval_within_their_range_and_around_their_mean(scores):
    low, high = mean_interval(scores)
    assert 0 <= low <= fmean(scores) + 1e-12
    assert fmean(scores) - 1e-12 <= high <= largest_score(scores) + 1e-12
    assert high - low > 0.01 * largest_score(scores)


@pytest.mark.parametrize("scale", [0.02, 3.0, 100.0])
@pytest.mark.parametrize("scores", [[0.2, 0.5, 0.9, 0.9], [0.0, 1.0, 1.0], [0.6] * 5, [0.0, 0.7]])
def test_an_interval_follows_the_scale_of_the_scores(scores, scale):
    """A reward times 0.02 is the same reward: so is what is known of its mean."""
    low, high = mean_interval(scores)
    scaled = mean_interval([scale * score for score in scores])
    assert scaled == pytest.approx((scale * low, scale * high), rel=1e-9)


def test_scores_below_zero_have_students_interval():
    """Mean 0.5, standard deviation 1.29099: half-width 3.182446 * 1.29099 / 2."""
    assert mean_interval([-1.0, 0.0, 1.0, 2.0]) == pytest.approx((-1.554260, 2.554260), abs=1e-5)


SCORES = {
    "uniform": (lambda rng, n: rng.random(n), 1 / 2),
    "near one": (lambda rng, n: rng.beta(8, 0.4, n), 8 / 8.4),
    "mostly one": (lambda rng, n: np.where(rng.random(n) < 0.8, 1, rng.random(n)), 0.9),
    "three grades": (lambda rng, n: rng.choice([0, 0.5, 1], n, p=[0.1, 0.2, 0.7]), 0.8),
}


@pytest.mark.parametrize("number", [4, 20, 100])
@pytest.mark.parametrize("scores", SCORES)
def test_the_interval_holds_the_truth_as_often_as_it_says(scores, number):
    draw, truth = SCORES[scores]
    rng = np.random.default_rng(0)
    found = [mean_interval((0.02 * draw(rng, number)).tolist()) for _ in range(400)]
    assert fmean(low <= 0.02 * truth <= high for low, high in found) >= 0.925


def test_many_scores_have_the_interval_of_the_normal_distribution():
    scores = np.random.default_rng(0).random(2000)
    half = 1.959964 * scores.std(ddof=1) / 2000**0.5
    expected = scores.mean() - half, scores.mean() + half
    assert mean_interval(scores.tolist()) == pytest.approx(expected, abs=2e-4)
