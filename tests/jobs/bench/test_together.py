"""The bench of experts at once: both figures hold only for the same experts."""

import pytest

from jobs.bench.together import Side, rows_of_sides


def side(seconds, peak, digest="a"):
    own = {"digest": digest, "test": {"value": 0.5}}
    return Side(seconds, peak, {"swap": own, "sort": own})


@pytest.mark.parametrize(
    ("at_once", "met"),
    [(side(8, 30), [True, True]), (side(9, 50), [False, False]), (side(8, 30, "b"), [False] * 2)],
)
def test_time_and_memory_are_held_to_their_bounds_by_the_same_experts(at_once, met):
    found = [*rows_of_sides("tiny-four", at_once, side(10, 100), cores=1)]
    assert [row.met for row in found] == met
    assert all(
        ("OTHER" in row.figure) == (at_once.summaries["swap"]["digest"] == "b") for row in found
    )
    assert found[0].ratio == at_once.seconds / 10
