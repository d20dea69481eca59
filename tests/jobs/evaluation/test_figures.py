"""Figures of an evaluation, from its rows alone."""

from types import SimpleNamespace

import pytest

from jobs.evaluation.figures import Answered, asked_again
from jobs.exams import Samples
from rewards.errors import RewardError
from rlpeft.errors import ConfigError
from rlpeft.types import Problem


def rows(*samples, problem="1"):
    """Samples as (answer, verdict), or scores of a reward that judges nothing."""
    found = []
    for sample in samples:
        answer, verdict = sample if isinstance(sample, tuple) else (None, "graded")
        score = sample if answer is None else float(verdict == "correct")
        found.append(
            {
                "problem": problem,
                "reward": None if verdict == "unscorable" else score,
                "verdict": verdict,
                "extracted": answer,
                "completion": answer or "",
            }
        )
    return found


@pytest.fixture
def answered(quick):
    def make(number, given, ks=(), reward="math"):
        exam = SimpleNamespace(name="exam", recipe=quick(reward=[{"name": reward}]))
        return Answered(exam, Samples(number, 1.0, ks), {"base": given})

    return make


def test_each_problem_counts_once(answered):
    found = answered(
        2,
        [
            *rows(("1/2", "correct"), ("0.5", "correct")),
            *rows(("7", "wrong"), ("8", "correct"), problem="2"),
        ],
    )
    assert found.by_problem("base", "avg@2") == {"1": 1.0, "2": 0.5}
    assert found.by_problem("base", "pass@2") == {"1": 1.0, "2": 1.0}
    assert found.by_problem("base", "maj@2") == {"1": 1.0, "2": 0.5}


def test_the_majority_is_of_answers_that_the_verifier_holds_for_one(answered):
    given = rows(("3", "wrong"), ("3", "wrong"), ("0.5", "correct"), ("1/2", "correct"))
    given += rows(("50%", "correct"))
    assert answered(5, given).by_problem("base", "maj@5") == {"1": 1.0}
    assert answered(5, given, reward="exact").by_problem("base", "maj@5") == {"1": 0.0}


def test_what_could_not_be_scored_is_no_sample(answered):
    given = rows(("7", "correct"), ("8", "unscorable"))
    given += rows(("7", "unscorable"), ("7", "unscorable"), problem="2")
    found = answered(2, given)
    assert found.by_problem("base", "avg@2") == {"1": 1.0}
    assert found.by_problem("base", "pass@2") == {}


def test_nothing_scored_is_no_figure(answered):
    with pytest.raises(RewardError, match="2 unscorable"):
        answered(1, rows(("7", "unscorable"), ("7", "unscorable"))).by_problem("base", "accuracy")


def test_scores_alone_give_a_mean_and_no_pass(answered):
    given = [*rows(0.25, 0.75), *rows(2.0, 3.0, problem="2")]
    found = answered(2, given)
    assert found.values.keys() == {"avg@2"}
    assert found.estimate("base", "avg@2", [0.5, 2.5]).value == 1.5
    said = r"pass@2, which no reward of 'exam' gives.* --set reward\.0\.correct_at=1$"
    with pytest.raises(ConfigError, match=said):
        _ = answered(2, given, ks=(2,)).values


def test_problems_with_the_prompt_of_another_are_counted():
    one, two = Problem("1", "a", "x"), Problem("2", "b", "x")
    again = Problem("3", "a", "y")
    assert asked_again([[one, two], [two]]) == {"within": 0, "across": 1}
    assert asked_again([[one, two, again]]) == {"within": 1, "across": 0}
