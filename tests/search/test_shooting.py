"""Random shooting."""

import pytest

from rlpeft.errors import ConfigError
from rlpeft.search.shooting import RandomShooting


def test_random_shooting_needs_bounds():
    with pytest.raises(ConfigError, match="finite bounds"):
        RandomShooting([0.0], [1.0], seed=0).ask()
