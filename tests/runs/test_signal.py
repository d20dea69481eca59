"""Where all scores are alike the judge is looked at before the problems."""

import pytest

from rlpeft.runs.signal import nothing_to_learn


@pytest.mark.parametrize(("kind", "then"), [("wrong", "easier"), ("correct", "harder")])
def test_the_reward_is_to_be_looked_at_before_other_problems_are_taken(kind, then):
    said = nothing_to_learn({"reward": 0.5, f"verdicts/{kind}": 9.0, "verdicts/truncated": 1.0}, 3)
    assert "in the first 3 steps" in said
    assert 0 < said.index("mend the reward") < said.index(f"take {then} problems")


@pytest.mark.parametrize(
    ("environment", "key"),
    [({}, "raise rollout"), ({"environment/turns": 1.0}, "raise environment")],
)
def test_the_limit_that_cuts_answers_off_is_named(environment, key):
    said = nothing_to_learn({"reward": 0.0, "verdicts/truncated": 9.0, **environment}, 1)
    assert f"cut off: {key}.max_" in said
