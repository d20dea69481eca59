"""What the line of a step says."""

from rlpeft.runs.figures import Validation, figures


def test_a_step_without_rewards_shows_none():
    assert figures({"loss": 0.0}, None) == ""


def test_a_supervised_step_shows_its_loss():
    supervised = {"loss": 0.25, "mean_token_accuracy": 0.9}
    assert figures(supervised, Validation(0.5, True)) == "loss 0.250  best validation 50.0%"


def test_a_validation_that_judges_nothing_shows_its_score_and_what_could_not_be_scored():
    metrics = {"reward": 0.25, "eval_score": 0.5, "verdicts/unscorable": 3, "eval_unscorable": 2}
    assert figures(metrics, None) == "reward 0.250  validation score 0.500  5 without a score"


def test_rewards_that_fail_are_counted_in_the_line():
    metrics = {"reward": 0.25, "verdicts/error": 1, "verdicts/timeout": 2}
    assert figures(metrics, None) == "reward 0.250  3 failed to be scored"


def test_answers_that_a_validation_left_out_are_counted_beside_its_figure():
    metrics = {"reward": 0.25, "eval_accuracy": 0.487, "eval_failed": 2}
    assert figures(metrics, None) == "reward 0.250  validation 48.7% (2 failed to be scored)"


def test_a_search_by_scores_shows_no_percent():
    row = {"best": 0.5, "mean": 0.25, "spread": 0.125, "graded": 1.0}
    assert figures(row, None) == "best 0.500  mean 0.250  spread 0.125"


def test_of_steps_that_are_generated_ahead_it_is_shown_who_waits():
    row = {"reward": 0.5, "step_time": 2.0, "perf/learner_idle_s": 0.5, "perf/engine_idle_s": 0.0}
    assert figures(row, None) == "reward 0.500  learner idle 25%  engines idle 0%"
