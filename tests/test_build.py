"""What a run keeps from its start, and how it is held to it."""

import json

import pytest

from rlpeft.build import build_card, fingerprint, pinned
from rlpeft.tasks.base import ProblemSet
from rlpeft.tasks.decks import Deck
from rlpeft.types import Problem

DECKS = [Deck(ProblemSet("given", {"train": (Problem("p", "1"),)}))]


@pytest.fixture
def stored(quick, tmp_path):
    """The recipe of a run, without what the recipes of its time did not name."""

    def write(**adapter):
        tree = quick(adapter={"type": "svf", **adapter}).model_dump(mode="json")
        if not adapter:
            del tree["adapter"]["decomposition"]
        (tmp_path / "recipe.json").write_text(json.dumps(tree))
        return tmp_path / "recipe.json"

    return write


def test_a_run_from_before_there_was_a_choice_keeps_its_factors(quick, tiny, stored):
    assert pinned(quick(), tiny, stored()).adapter.decomposition == "svd"


@pytest.mark.parametrize("decomposition", ["gram", "svd"])
def test_a_run_keeps_the_factors_it_began_with(quick, tiny, stored, decomposition):
    found = pinned(quick(), tiny, stored(decomposition=decomposition))
    assert found.adapter.decomposition == decomposition


def test_a_recipe_that_is_printed_goes_on_with_an_old_run_as_it_does_by_name(quick, tiny, stored):
    printed = quick(adapter={"type": "svf", "decomposition": "gram"})
    assert pinned(printed, tiny, stored()).adapter.decomposition == "svd"


def test_another_decomposition_than_the_runs_is_not_changed_but_compared(quick, tiny, stored):
    said = quick(adapter={"type": "svf", "decomposition": "svd"})
    assert pinned(said, tiny, stored(decomposition="gram")).adapter.decomposition == "svd"


def test_fingerprints_name_a_decomposition_that_runs_from_before_did_not_have(quick, tiny):
    def adapter(**options):
        return fingerprint(quick(adapter={"type": "svf", **options}), tiny, DECKS)["recipe"][
            "adapter"
        ]

    assert adapter()["decomposition"] == "gram"
    assert "decomposition" not in adapter(decomposition="svd")


def test_a_run_may_go_on_with_other_ranks_of_its_learner(quick, tiny):
    sharded = quick(learner={"parallel": "shard"}, resources={"learners": 2})
    assert fingerprint(sharded, tiny, DECKS) == fingerprint(quick(), tiny, DECKS)
    assert "parallel" not in fingerprint(quick(), tiny, DECKS)["recipe"]["learner"]


def test_a_lag_may_not_change_under_a_checkpoint_and_none_is_as_before_there_was_one(quick, tiny):
    def rollout(lag):
        return fingerprint(quick(rollout={"max_lag": lag}), tiny, DECKS)["recipe"]["rollout"]

    assert "max_lag" not in rollout(0)
    assert rollout(1) == rollout(0) | {"max_lag": 1}


def test_the_card_says_from_which_score_on_an_answer_is_correct(quick, tiny):
    graded = quick(reward=[{"name": "mine:f1", "correct_at": 0.5}, {"name": "exact"}])
    assert build_card(graded, tiny).correct_at == {"mine:f1": 0.5}
    assert "correct_at" not in build_card(quick(), tiny).model_dump()
