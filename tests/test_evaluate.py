"""Answers of a whole split: verdicts counted apart, labels in a matrix."""

from rewards.scorer import RewardSpec, Scorer
from rlpeft.evaluate import evaluate
from rlpeft.rollout.fake import FakeEngine
from rlpeft.rollout.fleet import LocalFleet
from rlpeft.tokens.requests import Prompter
from rlpeft.types import FinishReason, Problem, Sampling


def test_verdicts_are_counted_apart(characters):
    problems = [Problem(str(n), "p", answer=a) for n, a in enumerate(["7", "7", "7", ""])]
    texts = iter(["7", "8", "7", "7"])
    ends = iter([FinishReason.STOP, FinishReason.STOP, FinishReason.LENGTH, FinishReason.STOP])
    engine = FakeEngine(lambda request, seed: ((1,), (-0.1,), next(texts), next(ends)))
    accuracy, groups = evaluate(
        problems,
        LocalFleet(engine),
        Scorer([RewardSpec("math")]),
        prompter=Prompter(characters, max_tokens=9),
        sampling=Sampling(4, temperature=0.0),
    )
    assert [len(scored.verdicts) for scored in groups] == [1, 1, 1, 1]
    assert accuracy.verdicts["unscorable"] == 1
    assert accuracy.total == 3
    assert sum(accuracy.verdicts.values()) == 4


def test_a_confusion_matrix_counts_gold_by_what_was_said(characters):
    """Two golds each; one answer is wrong, one names no label, case is folded."""
    said = iter(["\\boxed{Swap}", "\\boxed{sort}", "\\boxed{sort}", "who knows"])

    def script(request, seed):
        return (7,), (-0.5,), next(said), FinishReason.STOP

    labels = ("swap", "sort")
    scorer = Scorer([RewardSpec("label", 1.0, {"labels": list(labels)})])
    problems = [
        Problem(str(k), "abc", gold) for k, gold in enumerate(("swap", "swap", "sort", "sort"))
    ]
    found, _ = evaluate(
        problems,
        LocalFleet(FakeEngine(script)),
        scorer,
        prompter=Prompter(characters, max_tokens=9),
        sampling=Sampling(max_tokens=4),
        labels=labels,
    )
    assert found.confusion == {
        "swap": {"swap": 1, "sort": 1, "-": 0},
        "sort": {"swap": 0, "sort": 1, "-": 1},
    }
    assert found.correct == 2
