import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import RewardError, VerdictKind
from rewards.text.label import verify_label

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


SETS = {
    "tone": ["positive", "negative", "neutral"],
    "toxic": ["toxic", "non-toxic"],
    "yes": ["yes", "no"],
    "spam": ["spam", "ham"],
    "entails": ["entailment", "contradiction"],
    "tone, Chinese": ["正面", "负面"],
    "open": [],
}


@pytest.mark.parametrize(
    ("kind", "completion", "label"),
    [
        ("tone", "The sentiment is not positive, it is negative.", "negative"),
        ("tone", "Not positive but negative", "negative"),
        ("tone", "positive, not negative", "positive"),
        ("tone", "positive rather than negative", "positive"),
        ("tone", "neither positive nor negative, so neutral", "neutral"),
        ("tone", "positive... no, negative", "negative"),
        ("tone", "positive. Wait, actually negative", "negative"),
        ("tone", '{"label": "positive"}', "positive"),
        ("tone", "{'sentiment': 'negative'}", "negative"),
        ("tone", "The sentiment of this review is positive.", "positive"),
        ("tone", "positive<|im_end|>", "positive"),
        ("tone", "<label>positive</label>", "positive"),
        ("toxic", "The comment is not toxic.", "non-toxic"),
        ("toxic", "Non toxic", "non-toxic"),
        ("toxic", "non_toxic", "non-toxic"),
        ("yes", "No, it is not.", "no"),
        ("yes", "yes, not no", "yes"),
        ("yes", "Yes, there is no doubt.", "yes"),
        ("yes", "Yes, it has no effect", "yes"),
        ("spam", "It's not spam, it's ham", "ham"),
        ("spam", "ham (not spam)", "ham"),
        ("spam", "It's ham, no spam here", "ham"),
        ("spam", "spam? No, ham.", "ham"),
        ("spam", "No. It is spam, no doubt.", "spam"),
        ("spam", "Spam: no greeting, a link.", "spam"),
        ("spam", "Without a doubt spam", "spam"),
        ("spam", '{"spam": false, "ham": true}', "ham"),
        ("yes", "Yes? No.", "no"),
        ("entails", "Entailment. There is no contradiction.", "entailment"),
        ("entails", "There's no entailment but contradiction", "contradiction"),
        ("tone, Chinese", "答案：正面", "正面"),
        ("tone, Chinese", "这是一条负面评论", "负面"),
        ("open", "Category: World News", "world news"),
        ("open", '{"label": "sports"}', "Sports"),
    ],
)
def test_a_label_is_read_as_a_careful_reader_does(kind, completion, label):
    labels = SETS[kind]
    assert verify_label(completion, label, labels=labels).score == 1.0
    assert all(
        verify_label(completion, x, labels=labels).score == 0.0 for x in labels if x != label
    )


@pytest.mark.parametrize(
    ("kind", "completion"),
    [
        ("tone", "The review is not positive."),
        ("tone", "It isn't negative."),
        ("tone", "It fails to be positive."),
        ("tone", "There is no way it is positive."),
        ("tone", "neither positive nor negative"),
        ("tone", "not a very positive review"),
        ("tone", "The label could be positive or negative."),
        ("spam", "This is not spam"),
        *(("spam", text) for text in ["It is no spam.", "Is it spam? No.", "spam? Not at all."]),
        *(
            ("spam", text)
            for text in ["by no means spam", "Spam: false", "It is spam... not spam."]
        ),
        ("entails", "no entailment"),
        ("entails", "There is no entailment here."),
        ("entails", "Answer: without entailment"),
        ("entails", "The pair lacks entailment."),
        ("entails", "This rules out entailment."),
        ("entails", "Entailment is ruled out."),
        ("entails", "Entailment does not hold."),
        ("tone, Chinese", "不是正面"),
        ("tone, Chinese", "这并不正面"),
        ("yes", "There is no evidence for it"),
    ],
)
def test_a_denied_label_is_not_given(kind, completion):
    verdicts = [verify_label(completion, label, labels=SETS[kind]) for label in SETS[kind]]
    assert {verdict.kind for verdict in verdicts} == {VerdictKind.UNPARSABLE}
