"""The bound on what an expert may make of a weight."""

import pytest

from rlpeft.errors import EngineError
from rlpeft.rollout.growth import MOST_GROWTH, check_growth


def test_a_weight_may_become_as_large_as_the_bound():
    check_growth({"q": float(MOST_GROWTH), "k": 0.0})


@pytest.mark.parametrize("by", [MOST_GROWTH + 1.0, float("inf"), float("nan")])
def test_a_larger_one_is_refused_by_name(by):
    with pytest.raises(EngineError, match=r"'k' becomes .* times as large"):
        check_growth({"q": 1.0, "k": by})
