import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import RewardError, VerdictKind
from rewards.label import verify_label

LABELS = ["positive", "not positive", "neutral"]


@pytest.mark.parametrize(
    "completion",
    [
        "positive",
        "Positive.",
        "Label: positive",
        "It is warm.\n**Sentiment**: POSITIVE",
        "The answer is positive.",
        "\\boxed{\\text{Positive}}",
        "<think>negative? neutral?</think> positive",
        "<answer>positive</answer>",
        "ｐｏｓｉｔｉｖｅ",
    ],
)
def test_a_given_label_is_found(completion):
    assert verify_label(completion, "positive", labels=LABELS).score == 1.0


def test_the_longest_label_that_fits_is_the_one_given():
    assert verify_label("Label: not positive", "not positive", labels=LABELS).score == 1.0
    assert verify_label("Label: not positive", "positive", labels=LABELS).score == 0.0


def test_a_label_that_begins_another_is_not_mistaken_for_it():
    labels = ["new", "new york"]

    assert verify_label("Label: New York", "new york", labels=labels).score == 1.0
    assert verify_label("Label: New York", "new", labels=labels).score == 0.0


@pytest.mark.parametrize("completion", ["positive or neutral", "", "superpositive", "warm"])
def test_none_or_several_labels_get_nothing(completion):
    verdict = verify_label(completion, "positive", labels=LABELS)

    assert verdict.kind is VerdictKind.UNPARSABLE


def test_without_a_closed_set_the_text_itself_is_compared():
    assert verify_label("Label: Sports", "sports").score == 1.0
    assert verify_label("Label: sports and more", "sports").kind is VerdictKind.WRONG


@given(st.text(alphabet="posneutralivt \\boxed{}:Label\n.<answer>/", max_size=200))
def test_any_text_gets_a_verdict_and_at_most_one_label_is_right(text):
    assert sum(verify_label(text, label, labels=LABELS).score == 1.0 for label in LABELS) <= 1


def test_a_gold_label_outside_the_set_is_unscorable():
    assert verify_label("positive", "angry", labels=LABELS).kind is VerdictKind.UNSCORABLE
    assert verify_label("positive", " ").kind is VerdictKind.UNSCORABLE


def test_labels_that_fold_together_are_refused():
    with pytest.raises(RewardError, match="labels must differ"):
        verify_label("a", "a", labels=["A", "a"])
