"""Splits that are too small to tell an expert from its base are to be known of."""

import pytest

from rlpeft.doctor.sizes import check_repeats, check_sizes
from rlpeft.tasks.base import SPLITS, ProblemSet
from rlpeft.tasks.tiny import tiny_task
from rlpeft.types import Problem


@pytest.mark.parametrize(
    ("validation", "test", "warned"), [(300, 1000, False), (8, 100, True), (19, 10, True)]
)
def test_few_problems_are_told_with_the_interval_they_give(validation, test, warned):
    row = check_sizes(tiny_task("tiny/swap", num_validation=validation, num_test=test), "rows.csv")
    assert row.found.startswith("rows.csv: ")
    assert f"{validation} validation, {test} test problems" in row.found
    assert row.status == ("warn" if warned else "ok")
    assert ("task.num_validation" in row.advice) == (validation < 20)
    assert ("task.num_test" in row.advice) == (test < 20)


def test_the_interval_is_wilsons():
    """4 of 8 right: (0.5 ± sqrt(0.25 / 8 + z² / 256) z / ...), 0.2152 to 0.7848 for z = 1.96."""
    row = check_sizes(tiny_task("tiny/swap", num_validation=8, num_test=100), "tiny/swap")
    assert "of 8 validation problems is 22% to 78%" in row.found
    assert "of 100 test problems is 40% to 60%" in row.found


def test_the_interval_is_told_of_sizes_that_are_large_enough_too():
    row = check_sizes(tiny_task("tiny/swap", num_validation=20, num_test=100), "tiny/swap")
    assert (row.status, row.advice) == ("ok", "")
    assert "of 20 validation problems is 30% to 70%" in row.found


def test_problems_that_a_number_leaves_unasked_are_counted():
    splits = {split: (Problem(f"{split}/0", "3+1=", answer="4"),) for split in SPLITS}
    row = check_sizes(ProblemSet("sums", splits, unasked={"test": 819}), "sums.csv")
    assert "1 validation, 1 of 820 test problems" in row.found


def test_problems_that_are_there_twice_are_to_be_known_of():
    def split(name, *rows):
        problems = [
            Problem(f"{name}/{n}", f"{a}+1=", answer=gold) for n, (a, gold) in enumerate(rows)
        ]
        return tuple(problems)

    once = [(3, "4"), (5, "6")]
    twice = [*once, (3, "4"), (3, "5")]
    splits = {
        name: split(name, *rows) for name, rows in zip(SPLITS, (twice, once, twice), strict=True)
    }
    row = check_repeats(ProblemSet("sums", splits))
    assert (row.status, row.found.split(" problems")[0]) == ("warn", "1 test")


def test_problems_that_are_all_different_need_no_word():
    assert check_repeats(tiny_task("tiny/swap", num_validation=50, num_test=50)) is None
