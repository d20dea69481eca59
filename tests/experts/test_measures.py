"""What verdicts amount to: an accuracy where answers were judged, a mean score elsewhere."""

import pytest

from rewards.verdict import Verdict, VerdictKind
from rlpeft.experts.measures import Accuracy, MeanScore, measure_of, read_measure

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


def test_the_interval_of_a_mean_is_students():
    """Four scores, mean 2.5, standard deviation 1.29099: half-width 3.182446 * 1.29099 / 2."""
    found = measure_of([graded(score) for score in (1.0, 2.0, 3.0, 4.0)])
    assert (found.low, found.high) == pytest.approx((2.5 - 2.054260, 2.5 + 2.054260), abs=1e-5)


@pytest.mark.parametrize("verdicts", [[RIGHT, WRONG], [graded(0.5), graded(0.75)]])
def test_a_measure_is_read_back_as_what_it_was(verdicts):
    found = measure_of(verdicts)
    assert read_measure(found.model_dump(mode="json")) == found


def test_nothing_scored_means_nothing_known():
    accuracy = Accuracy.of(0, 0)
    assert (accuracy.low, accuracy.high) == (0.0, 1.0)


def test_without_labels_there_is_no_confusion_matrix():
    assert Accuracy.of(1, 2).confusion == {}
