"""Intervals of few values are as wide as Student's t says."""

import pytest

from rlpeft.experts.student import interval, student_quantile


@pytest.mark.parametrize(("freedom", "t"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (30, 2.0423)])
def test_student_quantiles_are_those_of_the_tables(freedom, t):
    assert student_quantile(0.95, freedom) == pytest.approx(t, abs=1e-4)


def test_the_interval_of_a_mean_is_students():
    """1, 2, 3: mean 2, deviation 1, 4.3027 / sqrt(3) = 2.4842 to each side."""
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.4842, 2 + 2.4842), abs=1e-4)


@pytest.mark.parametrize(
    ("level", "freedom", "t"),  # scipy.stats.t.ppf((1 + level) / 2, freedom)
    [
        (0.95, 1, 12.706205),
        (0.95, 49, 2.009575),
        (0.95, 101, 1.983731),
        (0.95, 16000, 1.960112),
        (0.9995, 1, 1273.239278),
    ],
)
def test_students_quantile_is_the_known_one(level, freedom, t):
    assert student_quantile(level, freedom) == pytest.approx(t, rel=1e-6)
