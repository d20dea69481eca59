"""What verdicts amount to: an accuracy where answers were judged, a mean score elsewhere."""

import pytest

from rewards.verdict import Verdict, VerdictKind
from rlpeft.experts.measures import (
    Accuracy,
    MeanScore,
    PairedDifference,
    difference_of,
    measure_of,
    read_measure,
)
from rlpeft.types import Group, Problem, ScoredGroup

RIGHT, WRONG = Verdict(1.0, VerdictKind.CORRECT), Verdict(0.0, VerdictKind.WRONG)
LOST = Verdict(None, VerdictKind.UNSCORABLE)


def answered(verdicts):
    """One answer to each problem."""
    return [
        ScoredGroup(Group(Problem(f"p/{at}", "?", "1"), (), ()), (verdict,), {})
        for at, verdict in enumerate(verdicts)
    ]


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


def test_a_difference_of_scores_follows_their_scale():
    """A reward times 0.02 tells the same two policies apart."""
    ours, theirs = [0.2, 0.9, 0.9, 0.4, 0.7, 0.8], [0.1, 0.8, 0.9, 0.1, 0.5, 0.6]
    large, small = (
        difference_of(*(answered([graded(scale * s) for s in scores]) for scores in (ours, theirs)))
        for scale in (1, 0.02)
    )
    scaled = [0.02 * each for each in (large.value, large.low, large.high)]
    assert [small.value, small.low, small.high] == pytest.approx(scaled, rel=1e-6)


def test_a_mean_of_small_scores_is_shown_in_as_many_places_as_its_interval_bears():
    scores = [0.02 * share for share in (0.5, 0.6, 0.7, 0.8, 0.8)] * 20
    assert str(measure_of([graded(score) for score in scores])) == "0.0136 [0.0131, 0.0140]"


@pytest.mark.parametrize("verdicts", [[RIGHT, WRONG], [graded(0.5), graded(0.75)]])
def test_a_measure_is_read_back_as_what_it_was(verdicts):
    found = measure_of(verdicts)
    assert read_measure(found.model_dump(mode="json")) == found


def test_nothing_scored_means_nothing_known():
    accuracy = Accuracy.of(0, 0)
    assert (accuracy.low, accuracy.high) == (0.0, 1.0)


def test_without_labels_there_is_no_confusion_matrix():
    assert Accuracy.of(1, 2).confusion == {}


def test_a_difference_is_told_where_the_policies_own_intervals_overlap():
    """103 against 123 of 200, of which 20 are gained and none is lost."""
    base, expert = [RIGHT] * 103 + [WRONG] * 97, [RIGHT] * 123 + [WRONG] * 77
    assert measure_of(expert).low < measure_of(base).high
    found = difference_of(answered(expert), answered(base))
    assert (found.value, found.problems) == (pytest.approx(0.1), 200)
    assert 0.04 < found.low < found.high < 0.16
    assert "the expert is better than its base" in found.said()


def test_a_difference_is_over_the_problems_that_both_have_answers_to():
    found = difference_of(answered([RIGHT, LOST, RIGHT]), answered([WRONG, WRONG, LOST]))
    assert (found.value, found.problems) == (1.0, 1)
    assert difference_of(answered([RIGHT, LOST]), answered([LOST, RIGHT])) is None


def test_a_difference_of_numbers_is_one_of_mean_scores():
    found = difference_of(answered([graded(0.5), graded(1.0)]), answered([graded(0.25)] * 2))
    assert (found.value, found.judged) == (0.5, False)
    assert str(found) == "+0.50 (95 % interval -0.55 to +0.85)"


def test_a_mean_of_equal_scores_knows_that_its_interval_is_of_their_number_alone():
    assert measure_of([graded(0.7)] * 30).are_equal
    assert str(measure_of([graded(0.7)] * 30)) == "0.70 [0.62, 0.70]"
    assert not measure_of([graded(0.7)] * 29 + [graded(0.71)]).are_equal


@pytest.mark.parametrize(
    ("judged", "bounds", "told"),
    [
        (False, (0.0012, 0.25), "+0.001 to +0.250"),
        (True, (0.0004, 0.25), "+0.04 to +25.00"),
        (True, (-0.25, -0.00003), "-25.000 to -0.003"),
        (True, (0.0, 0.25), "+0.0 to +25.0"),
        (True, (1e-12, 0.25), "+0.000000 to +25.000000"),
    ],
)
def test_a_bound_is_not_read_as_0_beside_a_verdict_that_follows_from_it(judged, bounds, told):
    low, high = bounds
    found = PairedDifference(value=(low + high) / 2, low=low, high=high, problems=9, judged=judged)
    assert told in str(found)
