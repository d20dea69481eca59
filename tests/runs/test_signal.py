"""Where all scores are alike the judge is looked at before the problems."""

import pytest

from rlpeft.runs.signal import limits_met_in, nothing_to_learn


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


LIMITS = {"environment.max_turns": 4, "rollout.max_tokens": 90}


@pytest.mark.parametrize(
    ("unfinished", "cut", "met"),
    [
        (1.0, 0.1, "environment.max_turns = 4"),
        (1.0, 0.9, "rollout.max_tokens = 90"),
        (0.4, 0.4, ""),
        (None, 1.0, ""),
    ],
)
def test_the_limit_that_ended_most_conversations_is_named_with_its_value(unfinished, cut, met):
    row = {"completions/clipped_ratio": cut}
    row |= {} if unfinished is None else {"environment/unfinished": unfinished}
    assert limits_met_in([row, {}, row], LIMITS) == met


def test_conversations_that_never_end_are_no_fault_of_the_reward():
    said = nothing_to_learn({"reward": 0.0, "verdicts/wrong": 9, "environment/unfinished": 1.0}, 3)
    assert "were ended by environment.max_turns: raise it" in said
