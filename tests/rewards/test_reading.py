"""From a function's number to a verdict: what is correct is said, never guessed."""

import numpy
import pytest

from rewards import RewardError, Verdict, VerdictKind
from rewards.reading import to_verdict


def kind(value, **options):
    return to_verdict(value, name="f", step=0, row=0, **options).kind.value


@pytest.mark.parametrize("number", [0.3, 1.0, 0, -2, 1e9, numpy.float32(0.5), numpy.int64(1)])
def test_a_number_alone_is_no_verdict(number):
    assert kind(number) == "graded"


@pytest.mark.parametrize("true", [True, numpy.bool_(True), numpy.array([True])])
def test_true_and_false_are_verdicts(true):
    assert kind(true) == "correct"
    assert kind(False) == "wrong"


def test_a_threshold_is_reached_by_the_score_that_equals_it():
    assert [kind(score, correct_at=0.5) for score in (0.25, 0.5, 0.75)] == [
        "wrong",
        "correct",
        "correct",
    ]
    assert [kind(score, correct_at=-1) for score in (-2, -1, 0)] == ["wrong", "correct", "correct"]


def test_a_threshold_beside_verdicts_of_its_own_is_refused():
    with pytest.raises(RewardError, match=r"verdicts of its own.*correct_at must be absent"):
        kind(Verdict(1.0, VerdictKind.CORRECT), correct_at=0.5)


@pytest.mark.parametrize(("digits", "shown"), [(400, r"1000000"), (5000, "a int")])
def test_an_integer_too_large_for_a_score_is_named(digits, shown):
    with pytest.raises(RewardError, match=rf"finite number.*got {shown}"):
        kind(10**digits)


@pytest.mark.parametrize("score", [1e10, -1e25, 1e39, Verdict(1e25, VerdictKind.GRADED)])
def test_a_score_that_no_training_can_use_is_named_with_reward_and_row(score):
    with pytest.raises(RewardError, match=r"'f' must give scores between .* row 3 at step 2"):
        to_verdict(score, name="f", step=2, row=3)
