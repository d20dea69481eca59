"""Which problems a run draws, of one task or of several by their weights."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpeft.errors import DataError
from rlpeft.tasks.base import ProblemSet
from rlpeft.tasks.decks import (
    Deck,
    draw,
    epochs,
    fingerprints,
    problems_of,
    require_apart,
    require_drawn,
    told_shared,
)
from rlpeft.types import Problem


def deck(size=7, label="", weight=1.0, **rest):
    problems = {
        split: tuple(Problem(f"{split}/{n}", f"{n}", answer="7") for n in range(size))
        for split in ("train", "validation")
    }
    return Deck(ProblemSet("digits", problems), label, weight, **rest)


def mixed(*weights):
    return [deck(5 + at, f"task{at}", weight) for at, weight in enumerate(weights)]


WEIGHTS = st.lists(st.floats(0.01, 100), min_size=2, max_size=5)


def test_an_epoch_draws_every_problem_once():
    pool = [deck()]
    for epoch in range(3):
        drawn = draw(pool, 7 * epoch, 7, seed=3)
        assert sorted(p.id for p in drawn) == sorted(p.id for p in pool[0].split("train"))
    assert draw(pool, 0, 7, seed=3) != draw(pool, 7, 7, seed=3)
    assert draw(pool, 0, 7, seed=3) != draw(pool, 0, 7, seed=4)


def test_a_task_alone_keeps_its_problems_as_they_are():
    (alone,) = draw([deck()], 0, 1, seed=0)
    assert alone in deck().task.split("train")


@pytest.mark.parametrize("seed", range(5))
def test_three_to_one_is_three_quarters_of_a_thousand(seed):
    drawn = Counter(problem.task for problem in draw(mixed(3, 1), 0, 1000, seed))
    assert drawn["task0"] / 1000 == pytest.approx(0.75, abs=0.01)


@pytest.mark.slow
@given(WEIGHTS, st.integers(0, 9), st.integers(1, 400))
def test_shares_keep_to_the_weights_at_any_time(weights, seed, count):
    drawn = Counter(problem.task for problem in draw(mixed(*weights), 0, count, seed))
    for at, weight in enumerate(weights):
        assert abs(drawn[f"task{at}"] - count * weight / sum(weights)) < len(weights)


@pytest.mark.slow
@given(WEIGHTS, st.integers(0, 9), st.integers(0, 60))
def test_drawing_in_two_parts_equals_drawing_at_once(weights, seed, cut):
    decks = mixed(*weights)
    parts = draw(decks, 0, cut, seed) + draw(decks, cut, 60 - cut, seed)
    assert parts == draw(decks, 0, 60, seed)


def test_each_task_goes_through_epochs_of_its_own():
    drawn = [p.id for p in draw(mixed(3, 1), 0, 40, seed=0)]
    own = [name for name in drawn if name.startswith("task1/")]
    assert len(own) == 10
    assert sorted(own[:6]) == sorted(p.id for p in mixed(3, 1)[1].split("train"))


def test_seeds_begin_the_turns_elsewhere():
    orders = {tuple(p.task for p in draw(mixed(3, 1), 0, 8, seed)) for seed in range(20)}
    assert len(orders) > 1


def test_problems_of_several_tasks_say_whose_they_are():
    found = problems_of([deck(2, "a", max_tokens=3), deck(2, "b")], "validation")
    assert [(p.id, p.task, p.max_tokens) for p in found] == [
        ("a/validation/0", "a", 3),
        ("a/validation/1", "a", 3),
        ("b/validation/0", "b", None),
        ("b/validation/1", "b", None),
    ]


def rows_of(label, **splits):
    problems = {
        split: tuple(Problem(f"{split}/{n}", text) for n, text in enumerate(texts))
        for split, texts in splits.items()
    }
    return Deck(ProblemSet(label, problems), label)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_task_that_is_measured_by_what_another_trains_on_is_refused(split):
    splits = {"train": "ab", "validation": "cd", "test": "ef"}
    one, alike = rows_of("one", **splits), rows_of("alike", **splits)
    require_apart([one, alike])
    other = rows_of("other", **{"train": "xy", "validation": "zu", "test": "vw", split: "ax"})
    told = (
        rf"1 of the 2 {split} prompts of task 'other' are trained on in another task, such as 'a'"
        r".* Drop those rows of one task, or give the tasks different prompts"
    )
    with pytest.raises(DataError, match=told):
        require_apart([one, other])


def test_epochs_are_counted_task_by_task():
    assert epochs(mixed(3, 1), 40, seed=0) == {"task0": 30 / 5, "task1": 10 / 6}


def test_a_mixture_is_known_by_the_problems_of_each_task():
    assert fingerprints([deck()]) == deck().task.fingerprint()
    assert fingerprints(mixed(3, 1)) == {d.label: d.task.fingerprint() for d in mixed(3, 1)}


@given(WEIGHTS, st.integers(0, 9), st.integers(1, 60))
def test_a_run_without_a_problem_of_a_task_is_refused(weights, seed, count):
    decks = mixed(*weights)
    drawn = {problem.task for problem in draw(decks, 0, count, seed)}
    if len(drawn) == len(decks):
        require_drawn(decks, count, seed)
        return
    with pytest.raises(DataError, match=r"must be drawn once at least, 'task\d' is not in a run"):
        require_drawn(decks, count, seed)


def test_how_rarely_a_task_is_drawn_is_told_whatever_its_weight():
    with pytest.raises(DataError, match=r"its weight of 1 gives it one in 1,001\. Raise"):
        require_drawn(mixed(1000, 1), 40, seed=0)
    with pytest.raises(DataError, match=r"its weight of 1e-300 gives it one in 10\^600\. Raise"):
        require_drawn(mixed(1e300, 1e-300), 40, seed=0)


def test_prompts_that_stand_in_several_tasks_are_told_for_the_total():
    def own(label, *prompts):
        found = {
            split: tuple(Problem(f"{label}/{split}/{p}", p, answer=label) for p in prompts)
            for split in ("validation", "test")
        }
        return Deck(ProblemSet(label, found), label)

    assert told_shared([own("a", "1+1=", "1+2="), own("b", "1+3=")]) == ""
    said = told_shared([own("a", "1+1=", "1+2="), own("b", "1+1=", "1+2=", "1+3=")])
    assert said.startswith("2 validation and 2 test prompts stand in several tasks")
