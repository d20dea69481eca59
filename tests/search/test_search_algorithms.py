"""What every algorithm keeps, and that one is added by a file and a line."""

import json

import numpy as np
import pytest

from rlpeft.errors import ConfigError
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.options import of_section, option_tables
from rlpeft.recipe.run import validated
from rlpeft.recipe.search import ALGORITHMS
from rlpeft.search.cem import CEM
from rlpeft.search.cma import CmaEs
from rlpeft.search.few_shot import adapt
from rlpeft.search.shooting import RandomShooting

HALVING = """
from typing import Literal

from rlpeft.recipe.search import SearchConfig
from rlpeft.search.cem import CEM


class Halving(CEM):
    def tell(self, candidates_CK, scores_C, ties_C=None):
        std = self.std / self.shrink
        super().tell(candidates_CK, scores_C, ties_C)
        self.std = std


class HalvingSearch(SearchConfig):
    '''Halves its std each time.'''

    type: Literal["halving"]
    shrink: float = 2.0
    '''What the std is divided by.'''

    def start(self, mean_K, std_K, *, seed):
        search = Halving(mean_K, std_K, seed=seed, population_size=self.population_size)
        search.shrink = self.shrink
        return search
"""


@pytest.fixture
def halving(tmp_path, monkeypatch):
    """An algorithm from outside: its own file, and one line of the table."""
    (tmp_path / "halving_search.py").write_text(HALVING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(ALGORITHMS, "halving", "halving_search:HalvingSearch")


def test_an_algorithm_from_outside_runs_by_its_type(halving, adaptation):
    told = []
    search = {"type": "halving", "shrink": 4, "iterations": 3, "bounds": (0, 2)}
    adapt(adaptation(search=search), lambda progress, row: told.append(row["spread"]))
    assert told == [0.25, 0.0625, 0.015625]


def test_an_algorithm_from_outside_is_listed_and_its_mistakes_are_told(halving):
    tables = of_section(option_tables(AdaptRecipe), "search")
    [table] = [table for table in tables if table.given == 'type = "halving"']
    assert table.options[-1].doc == "What the std is divided by."
    tree = {"name": "a", "experts": ["runs"], "model": {"name": "tiny"}}
    tree |= {"task": {"name": "tiny/mix"}, "search": {"type": "halving", "shrnk": 2}}
    with pytest.raises(ConfigError, match=r"'search\.shrnk' of .*'halving'.*Did you mean 'shrink'"):
        validated(AdaptRecipe, tree, source="a")


def test_a_recipe_with_an_algorithm_from_outside_reads_back_from_json(halving, adaptation):
    recipe = adaptation(search={"type": "halving", "shrink": 4}).recipe
    assert validated(AdaptRecipe, json.loads(recipe.model_dump_json()), source="a") == recipe


@pytest.mark.parametrize("kind", [CEM, RandomShooting, CmaEs])
def test_resuming_through_json_equals_running_through(kind):
    def run(search, rounds):
        for _ in range(rounds):
            candidates = search.ask()
            search.tell(candidates, [-float(((c - 0.3) ** 2).sum()) for c in candidates])

    def begin():
        return kind([0.5] * 3, [0.5] * 3, seed=7, bounds=(0.0, 1.0))

    straight, first, second = begin(), begin(), begin()
    run(straight, 6)
    run(first, 2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    run(second, 4)
    np.testing.assert_array_equal(second.best, straight.best)
    np.testing.assert_array_equal(second.ask(), straight.ask())


def test_it_finds_the_optimum_that_random_shooting_only_nears():
    distances = []
    for kind in (CEM, CmaEs, RandomShooting):
        search = kind([0.5] * 6, [0.5] * 6, seed=1, bounds=(0.0, 1.0))
        for _ in range(40):
            candidates = search.ask()
            search.tell(candidates, [-float(((c - 0.7) ** 2).sum()) for c in candidates])
        distances.append(float(np.abs(search.best - 0.7).max()))
    assert max(distances[:2]) < 0.01 < distances[2]
