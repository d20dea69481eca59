"""CMA-ES: its seed, its ties, its bounds."""

import numpy as np
import pytest

from rlpeft.errors import ConfigError
from rlpeft.search.cma import CmaEs


def test_cma_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()
    search = CmaEs([0.5, 0.5], [0.5, 0.5], seed=3, bounds=(0.0, 1.0))
    search.tell(search.ask(), range(32))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_cma_breaks_ties_and_keeps_its_bounds():
    search = CmaEs([0.5, 0.5], [0.5, 0.5], seed=3, bounds=(0.0, 1.0))
    candidates = search.ask()
    assert candidates.min() >= 0
    assert candidates.max() <= 1
    search.tell(candidates, [1.0] * 32, [-np.inf] * 31 + [-4.0])
    np.testing.assert_array_equal(search.best, candidates[31])


def test_cma_must_be_told_what_it_was_asked():
    search = CmaEs([0.5, 0.5], [0.5, 0.5], seed=3)
    with pytest.raises(ConfigError, match="unchanged"):
        search.tell(search.ask() + 1, [0.0] * 32)


def test_cma_states_its_floor():
    search = CmaEs([0.5] * 3, [0.5] * 3, seed=0, std_floor=0.2)
    for _ in range(30):
        candidates = search.ask()
        search.tell(candidates, [-float(((c - 0.7) ** 2).sum()) for c in candidates])
    assert search.std.min() > 0.15
