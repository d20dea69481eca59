"""Problem sets: ids that are unique, and draws that lose nothing."""

import pytest

from rlpeft.errors import DataError
from rlpeft.tasks.base import ProblemSet, carve, plain
from rlpeft.types import Problem


def test_two_problems_of_one_id_are_refused_across_splits():
    with pytest.raises(DataError, match="'a' occurs twice"):
        ProblemSet("t", {"train": (Problem("a", "x"),), "test": (Problem("a", "y"),)})


def test_the_fingerprint_of_a_problem_without_images_is_that_of_before_there_were_any():
    assert plain(Problem("a", "x", "1")) == ["a", "x", "1", {}]


def test_the_fingerprint_tells_splits_prompts_and_columns_apart():
    def fingerprint(split="train", prompt="x", **columns):
        return ProblemSet("t", {split: (Problem("a", prompt, columns=columns),)}).fingerprint()

    assert fingerprint() == fingerprint()
    assert len({fingerprint(), fingerprint("test"), fingerprint(prompt="y"), fingerprint(c=1)}) == 4


def test_carving_parts_the_rows_and_keeps_their_order():
    rest, drawn = carve(range(10), 4, seed=3)
    assert sorted(rest + drawn) == list(range(10))
    assert (rest, drawn) == (sorted(rest), sorted(drawn))
    assert len(drawn) == 4
