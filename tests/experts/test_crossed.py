"""Figures over seeds and problems: both kinds of chance are in their intervals."""

import random
from math import sqrt

import pytest

from rlpeft.experts.clustered import difference, share_estimate
from rlpeft.experts.crossed import crossed_difference, crossed_mean

T_1, T_2 = 12.7062047362, 4.3026527299
"""Student's quantiles of 95 % for one and two degrees of freedom (any table)."""


def test_one_seed_has_the_interval_of_its_problems():
    values = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert crossed_mean([values], judged=True) == share_estimate(values, draws=6)


def test_seeds_that_agree_add_nothing():
    values = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert crossed_mean([values] * 3, judged=True) == share_estimate(values, draws=18)


def test_the_spread_between_seeds_widens_the_interval_as_squares_add():
    """Two seeds with means of 1/4 and 3/4: their mean's standard error is 1/4."""
    first, second = [1.0, 0.0, 0.0, 0.0] * 25, [1.0, 1.0, 1.0, 0.0] * 25
    means = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    alone = share_estimate(means, draws=200)
    found = crossed_mean([first, second], judged=False)
    assert found.value == 0.5
    wide = sqrt((0.5 - alone.low) ** 2 + (T_1 / 4) ** 2)
    assert found.low == pytest.approx(0.5 - wide, abs=0.02)
    assert crossed_mean([first, second], judged=True).low == 0.0  # no share is below


def test_a_difference_is_paired_by_seed_and_by_problem():
    """Seeds differ by 40 points in both alike; each time ours answers one more of ten."""
    theirs = [[1.0] * (10 * k) + [0.0] * (100 - 10 * k) for k in (2, 4, 6)]
    ours = [[1.0] * (10 * k + 10) + [0.0] * (90 - 10 * k) for k in (2, 4, 6)]
    found = crossed_difference(ours, theirs, judged=True)
    assert found.value == pytest.approx(0.1)
    assert found.low > 0  # the spread of 40 points is none of the difference
    assert crossed_mean(ours, judged=True).low < 0.1


def test_what_has_no_seeds_is_one_row():
    base, ours = [[0.0, 1.0, 0.0, 1.0]], [[1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]]
    means = [0.5, 1.0, 0.5, 1.0]
    alone = difference(
        means, base[0], share_estimate(means, draws=8), share_estimate(base[0], draws=4)
    )
    found = crossed_difference(ours, base, judged=True)
    assert (found.value, found.low) == (alone.value, pytest.approx(alone.low))


def _drawn(rng, seeds, problems, by_seed, by_problem):
    """Right and wrong answers whose logits have a part of the seed and one of the problem."""
    hard = [rng.gauss(0, by_problem) for _ in range(problems)]
    luck = [rng.gauss(0, by_seed) for _ in range(seeds)]
    share = [[1 / (1 + 2.718281828 ** -(0.4 + h + k)) for h in hard] for k in luck]
    return [[float(rng.random() < p) for p in row] for row in share]


@pytest.mark.parametrize("by_seed", [0.0, 0.5])
def test_intervals_hold_the_truth_as_often_as_they_say(by_seed):
    """Two methods that are worth the same, 3 seeds, 60 problems: the difference is 0 in truth."""
    rng, held, runs = random.Random(0), 0, 300
    for _ in range(runs):
        ours, theirs = (_drawn(rng, 3, 60, by_seed, 1.0) for _ in range(2))
        found = crossed_difference(ours, theirs, judged=True)
        held += found.low <= 0 <= found.high
    assert held / runs >= 0.93
