"""The cross-entropy method: worked numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpeft.errors import ConfigError
from rlpeft.search.cem import CEM
from rlpeft.search.rank import rank

POPULATION = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.9], [0.7, 0.1], [0.2, 0.6]])
SCORES = [0.2, 0.8, 0.8, 0.1, 0.5]


def make(**options):
    defaults = {"population_size": 5, "elite_fraction": 0.4, "std_floor": 1e-6, "seed": 0}
    return CEM([0.5, 0.5], [0.5, 0.5], **(defaults | options))


def test_elites_make_the_next_mean_and_biased_std():
    search = make()
    search.tell(POPULATION, SCORES)
    np.testing.assert_allclose(search.mean, [0.4, 0.65])
    np.testing.assert_allclose(search.std, [0.1, 0.25])


def test_the_unbiased_std_goes_by_its_name():
    search = make(unbiased_std=True)
    search.tell(POPULATION, SCORES)
    np.testing.assert_allclose(search.std, [0.141421, 0.353553], atol=1e-6)


def test_the_papers_population_has_six_elites():
    assert CEM([0.0], [1.0], population_size=32, elite_fraction=0.2, seed=0).num_elites == 6


def test_there_is_one_elite_at_least():
    search = make(elite_fraction=0.01)
    search.tell(POPULATION, [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(search.mean, POPULATION[1])
    np.testing.assert_array_equal(search.std, [1e-6, 1e-6])


def test_ties_are_broken_inside_elite_selection_too():
    search = make(elite_fraction=0.2)
    search.tell(POPULATION, SCORES, [0.0, -2.0, -1.0, 0.0, 0.0])
    np.testing.assert_array_equal(search.mean, POPULATION[2])
    np.testing.assert_array_equal(search.best, POPULATION[2])


def test_nan_comes_last_and_is_never_best():
    assert list(rank([np.nan, -3.0, 1.0], None, expected=3)) == [2, 1, 0]
    search = make(elite_fraction=0.2)
    search.tell(POPULATION, [np.nan, 0.1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(search.best, POPULATION[1])


def test_nothing_but_nan_is_an_error():
    with pytest.raises(ConfigError, match="all are NaN"):
        make().tell(POPULATION, [np.nan] * 5)


def test_a_wrong_number_of_scores_is_an_error():
    with pytest.raises(ConfigError, match="each of 5 candidates"):
        make().tell(POPULATION, [1.0])


def test_arguments_are_left_alone():
    population, scores = POPULATION.copy(), list(SCORES)
    make().tell(population, scores)
    np.testing.assert_array_equal(population, POPULATION)
    assert scores == SCORES


@given(
    order=st.permutations(range(5)),
    scores=st.lists(st.integers(0, 9), min_size=5, max_size=5, unique=True),
)
def test_the_order_of_candidates_does_not_matter(order, scores):
    straight, shuffled = make(), make()
    straight.tell(POPULATION, scores)
    shuffled.tell(POPULATION[list(order)], [scores[i] for i in order])
    np.testing.assert_allclose(shuffled.mean, straight.mean)
    np.testing.assert_allclose(shuffled.std, straight.std)


def test_candidates_keep_their_bounds():
    candidates = make(bounds=(0.0, 1.0)).ask()
    assert candidates.min() >= 0
    assert candidates.max() <= 1


def test_the_best_candidate_survives_worse_iterations():
    search = make()
    search.tell(POPULATION, SCORES)
    best = search.best.copy()
    search.tell(POPULATION + 1, [0.1] * 5)
    np.testing.assert_array_equal(search.best, best)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"elite_fraction": 1.5}, "elite_fraction"),
        ({"elite_fraction": 0.2, "unbiased_std": True}, "two elites"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)
