"""The rewards of a recipe as whoever scores with them sees them."""

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from rlpeft.recipe.scorer import Scorers


class Alone:
    """Rewards that may not be asked twice at a time."""

    def __init__(self):
        self.is_busy = False

    def score(self, rollouts):
        assert not self.is_busy
        self.is_busy = True
        time.sleep(0.02)
        self.is_busy = False
        return rollouts.task


def test_threads_are_served_one_after_the_other():
    scorers = Scorers({"a": Alone()})
    with ThreadPoolExecutor(4) as threads:
        asked = [SimpleNamespace(task="a")] * 4
        assert list(threads.map(scorers.score, asked)) == ["a"] * 4
