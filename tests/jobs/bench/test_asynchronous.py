"""What the figures of steps ahead are measured with."""

import pytest

from jobs.bench.asynchronous import Endless, IdleLearner, row, sized, step_times
from jobs.bench.streaming import Simulated
from rlpeft.rollout.fleet import LocalFleet


@pytest.mark.parametrize("lag", [0, 1])
def test_the_first_steps_and_the_last_of_a_run_are_not_counted(tiny, lag):
    recipe = sized("quickstart", 5, "train.prompts_per_step=2", "train.group_size=2")
    learner = IdleLearner(0.0)
    found = step_times(recipe, lag, tiny, learner, LocalFleet(Simulated(0.01)))
    assert learner.num_steps == 5
    assert len(found) == 2


def test_a_base_without_an_end_is_one_elsewhere_too():
    base = Endless.open("tiny")
    assert base.eos_ids == base.elsewhere().eos_ids == frozenset()


def test_the_bound_is_both_over_the_slower():
    found = row("x", (7.0, 4.2), (4.0, 3.0), 0.85)
    assert found.ratio == pytest.approx(7 / 4.2)
    assert found.floor == "1.75 x: both over the slower"
    assert found.met
    assert not row("x", (7.0, 5.0), (4.0, 3.0), 0.85).met
