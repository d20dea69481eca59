"""Steps that are generated ahead of the learner, before any is."""

from rlpeft.doctor.lag import check_lag
from rlpeft.doctor.row import Status


def test_engines_and_learner_in_turn_are_no_row(quick):
    assert list(check_lag(quick())) == []


def test_a_lag_is_told_and_one_that_does_little_more_is_warned_of(quick):
    (one,) = check_lag(quick(rollout={"max_lag": 1}))
    (two,) = check_lag(quick(rollout={"max_lag": 2}))
    assert one.status is Status.OK
    assert "1 step ahead of the learner; groups of step t are of version max(0, t - 2)" in one.found
    assert two.status is Status.WARN
    assert "version max(0, t - 3), importance ratios are capped at 2" in two.found
    assert "rollout.max_lag = 1" in two.advice
