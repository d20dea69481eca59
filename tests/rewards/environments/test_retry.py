"""Second chances."""

import pytest

from rewards import RewardError
from rewards.environments.retry import Retry


def steps(*texts, **options):
    retry = Retry(**options)
    retry.reset({"answer": "7"}, seed=0)
    return [retry.step(text) for text in texts]


def test_a_right_answer_ends_it_and_is_worth_less_the_later_it_comes():
    first, second, third = steps("6", "8", "It is 7.", tries=3, discount=0.5)
    assert (first.done, second.done, third.done) == (False, False, True)
    assert (third.reward, third.correct) == (0.25, True)
    assert first.observation == "That is wrong. Try again."


def test_the_last_try_ends_it():
    last = steps("6", "8")[-1]
    assert (last.done, last.reward, last.correct) == (True, 0.0, False)


def test_a_gold_answer_that_cannot_be_read_is_an_error_and_no_wrong_answer():
    retry = Retry()
    retry.reset({"answer": "no number at all ???"}, seed=0)
    with pytest.raises(RewardError, match="cannot tell what is right"):
        retry.step("7")


def test_an_unknown_verifier_is_refused():
    with pytest.raises(RewardError, match="kind of retry must be one of math, "):
        Retry(kind="maths")
