"""Accuracies: intervals from the literature, prompts never cut, verdicts counted apart."""

import pytest

from rewards.scorer import RewardSpec, Scorer
from rlpeft.errors import DataError
from rlpeft.evaluate import Prompter, evaluate, rollout_seed
from rlpeft.experts.measures import Accuracy, wilson_interval
from rlpeft.rollout.fake import FakeEngine
from rlpeft.rollout.fleet import LocalFleet
from rlpeft.types import FinishReason, Problem, Sampling


class Characters:
    """A tokenizer of one character a token."""

    bos_token_id = None
    chat_template = None

    def __call__(self, text, add_special_tokens=False):
        return {"input_ids": [ord(c) for c in text]}

    def __len__(self):
        return 0x110000


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


def test_seeds_differ_by_run_request_and_member():
    seeds = {rollout_seed(s, r, m) for s in (0, 1) for r in ("a", "b") for m in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**48 for seed in seeds)


def test_a_long_prompt_is_an_error_and_never_cut():
    prompter = Prompter(Characters(), max_tokens=3)
    assert prompter.ids(Problem("ok", "abc")) == (97, 98, 99)
    with pytest.raises(DataError, match=r"'long' must have at most .* 3 tokens, it has 4"):
        prompter.ids(Problem("long", "abcd"))


def test_verdicts_are_counted_apart():
    problems = [Problem(str(n), "p", answer=a) for n, a in enumerate(["7", "7", "7", ""])]
    texts = iter(["7", "8", "7", "7"])
    ends = iter([FinishReason.STOP, FinishReason.STOP, FinishReason.LENGTH, FinishReason.STOP])
    engine = FakeEngine(lambda request, seed: ((1,), (-0.1,), next(texts), next(ends)))
    accuracy, groups, scored = evaluate(
        problems,
        LocalFleet(engine),
        Scorer([RewardSpec("math")]),
        prompter=Prompter(Characters(), max_tokens=9),
        sampling=Sampling(4, temperature=0.0),
    )
    assert len(groups) == len(scored.verdicts) == 4
    assert accuracy.verdicts["unscorable"] == 1
    assert accuracy.total == 3
    assert sum(accuracy.verdicts.values()) == 4


def test_a_confusion_matrix_counts_gold_by_what_was_said():
    """Two golds each; one answer is wrong, one names no label, case is folded."""
    said = iter(["\\boxed{Swap}", "\\boxed{sort}", "\\boxed{sort}", "who knows"])

    def script(request, seed):
        return (7,), (-0.5,), next(said), FinishReason.STOP

    labels = ("swap", "sort")
    scorer = Scorer([RewardSpec("label", 1.0, {"labels": list(labels)})])
    problems = [
        Problem(str(k), "abc", gold) for k, gold in enumerate(("swap", "swap", "sort", "sort"))
    ]
    found, _, _ = evaluate(
        problems,
        LocalFleet(FakeEngine(script)),
        scorer,
        prompter=Prompter(Characters(), max_tokens=9),
        sampling=Sampling(max_tokens=4),
        labels=labels,
    )
    assert found.confusion == {
        "swap": {"swap": 1, "sort": 1, "-": 0},
        "sort": {"swap": 0, "sort": 1, "-": 1},
    }
    assert found.correct == 2


def test_without_labels_there_is_no_confusion_matrix():
    assert Accuracy.of(1, 2).confusion == {}
