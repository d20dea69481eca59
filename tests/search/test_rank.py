"""The order of candidates."""

import numpy as np

from rlpeft.search.rank import rank


def test_a_candidate_without_a_tie_break_never_wins_a_tie():
    assert list(rank([0.0, 0.0], [-np.inf, -5.0], expected=2)) == [1, 0]
