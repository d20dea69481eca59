"""The bench of the two-turn skill: what the base does with its tool and without it."""

import pytest

from jobs.bench import tool
from jobs.recipes import read_recipe

SMALL = ("task.num_validation=4", "task.num_test=100", "train.steps=1", "train.prompts_per_step=2")


@pytest.mark.slow
def test_the_base_is_right_half_of_the_time_and_never_without_its_tool(monkeypatch):
    read = lambda name, settings: read_recipe(name, [*settings, *SMALL])  # noqa: E731
    monkeypatch.setattr(tool, "read_recipe", read)
    (row,) = tool.rows(seeds=[0])
    assert 0.3 < row.peer < tool.BEFORE
    assert "without the calculator 0.000 before" in row.figure
    assert not row.met  # one step teaches nothing


@pytest.mark.parametrize(
    ("before", "after", "alone", "met"),
    [
        ([0.46, 0.47], [0.95, 0.99], [0.0, 0.01], True),
        ([0.46, 0.61], [0.95, 0.99], [0.0, 0.0], False),
        ([0.46, 0.47], [0.89, 0.99], [0.0, 0.0], False),
        ([0.46, 0.47], [0.95, 0.99], [0.0, 0.7], False),
    ],
)
def test_each_seed_must_begin_below_and_end_above(before, after, alone, met):
    assert tool.skill_row(before, after, alone, alone).met == met
