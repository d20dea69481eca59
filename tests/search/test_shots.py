"""Shots: enough of them, and none that the mixture is judged by."""

import json

import pytest

from rlpeft.errors import ConfigError, DataError
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.search.shots import load_shots
from rlpeft.tasks.catalogue import load_task
from rlpeft.tasks.golds import gold_of


def recipe(path=None, *, folds=0, **shots):
    if path is not None:
        shots["path"] = str(path)
    return AdaptRecipe(
        name="x",
        experts=("unread",),
        model={"name": "tiny"},
        task={"name": "tiny/mix", "num_validation": 8, "num_test": 50},
        shots=shots,
        search={"folds": folds},
    )


def shots_of(given):
    return load_shots(given, load_task(given.task))


@pytest.fixture
def file(tmp_path):
    def write(*rows):
        path = tmp_path / "shots.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def test_shots_are_drawn_by_seed_from_no_split_that_is_judged():
    first, again, other = (shots_of(recipe(number=5, seed=s)) for s in (0, 0, 1))
    assert first == again != other
    judged = load_task(recipe().task).split("test")
    assert not {s.prompt for s in first} & {p.prompt for p in judged}


def test_shots_may_come_from_a_file(file):
    shots = shots_of(recipe(file({"prompt": "12@=", "answer": 21}, {"prompt": "1", "answer": "2"})))
    assert [(s.prompt, s.answer) for s in shots] == [("12@=", "21"), ("1", "2")]


def test_a_shot_keeps_a_gold_answer_that_is_no_text_for_its_reward(file):
    rows = [{"prompt": "12@=", "answer": ["21", "12"]}, {"prompt": "1", "answer": 2}]
    assert [gold_of(shot) for shot in shots_of(recipe(file(*rows)))] == [["21", "12"], 2]


@pytest.mark.parametrize("rows", [[], [{"prompt": "12@=", "answer": "21"}]])
def test_a_file_with_fewer_than_two_shots_is_refused(file, rows):
    with pytest.raises(DataError, match=r"at least"):
        shots_of(recipe(file(*rows)))


def test_a_shot_without_an_answer_is_named(file):
    with pytest.raises(DataError, match=r"'shots.jsonl/2': must have a column 'answer'"):
        shots_of(recipe(file({"prompt": "12@=", "answer": "21"}, {"prompt": "1@="})))


def test_a_shot_that_is_a_test_problem_is_refused(file):
    tested = load_task(recipe().task).split("test")[3]
    rows = [{"prompt": "12@=", "answer": "1"}, {"prompt": tested.prompt, "answer": tested.answer}]
    with pytest.raises(DataError, match="must not be among the test problems"):
        shots_of(recipe(file(*rows)))


def test_there_is_a_shot_for_each_fold():
    with pytest.raises(DataError, match=r"needs 5 shots at least for search\.folds"):
        shots_of(recipe(number=3, folds=5))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(DataError, match="there is none at"):
        shots_of(recipe(tmp_path / "nowhere.jsonl"))


def test_more_shots_than_problems_are_refused():
    with pytest.raises(DataError, match=r"at most the 8 validation problems"):
        shots_of(recipe(number=9, split="validation"))


@pytest.mark.parametrize(
    ("search", "message"), [({"bounds": [1, 0]}, "must rise"), ({"folds": 1}, "0 or at least 2")]
)
def test_options_that_cannot_be_are_refused(search, message):
    from rlpeft.recipe.run import validated

    with pytest.raises(ConfigError, match=message):
        validated(AdaptRecipe, {"name": "x", "experts": ["a"], "search": search}, source="x")
