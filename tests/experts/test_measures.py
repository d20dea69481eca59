"""What verdicts amount to: an accuracy where answers were judged, a mean score elsewhere."""

import pytest

from rewards.verdict import Verdict, VerdictKind
from rlpeft.experts.measures import Accuracy, MeanScore, measure_of, read_measure, wilson_interval

RIGHT, WRONG = Verdict(1.0, VerdictKind.CORRECT), Verdict(0.0, VerdictKind.WRONG)
LOST = Verdict(None, VerdictKind.UNSCORABLE)


def graded(score):
    return Verdict(score, VerdictKind.GRADED)


def test_judged_answers_give_an_accuracy_over_what_was_scored():
    found = measure_of([RIGHT, WRONG, WRONG, LOST])
    assert isinstance(found, Accuracy)
    assert (found.correct, found.total, found.verdicts["unscorable"]) == (1, 3, 1)
    assert "graded" not in found.verdicts


def test_one_answer_without_a_verdict_makes_it_a_mean_score():
    found = measure_of([RIGHT, graded(0.25), LOST])
    assert isinstance(found, MeanScore)
    assert (found.value, found.total) == (0.625, 2)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    """Four scores, mean 2.5, standard deviation 1.29099: half-width 1.959964 * 1.29099 / 2."""
    found = measure_of([graded(score) for score in (1.0, 2.0, 3.0, 4.0)])
    assert (found.low, found.high) == pytest.approx((2.5 - 1.265154, 2.5 + 1.265154), abs=1e-5)


@pytest.mark.parametrize("verdicts", [[RIGHT, WRONG], [graded(0.5), graded(0.75)]])
def test_a_measure_is_read_back_as_what_it_was(verdicts):
    found = measure_of(verdicts)
    assert read_measure(found.model_dump(mode="json")) == found


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    # Published examples: Brown, Cai and DasGupta (2001); Newcombe (1998), table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_the_published_one(correct, total, low, high):
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=1e-4)


def test_nothing_scored_means_nothing_known():
    accuracy = Accuracy.of(0, 0)
    assert (accuracy.low, accuracy.high) == (0.0, 1.0)


def test_without_labels_there_is_no_confusion_matrix():
    assert Accuracy.of(1, 2).confusion == {}
