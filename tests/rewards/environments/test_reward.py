"""What an environment makes of a conversation, as a reward and against one."""

from rewards.dialects import Rollouts
from rewards.reading import Judged
from rewards.scorer import RewardSpec, Scorer
from rewards.verdict import Verdict, VerdictKind

FAILED = Verdict(None, VerdictKind.TIMEOUT, "environment 'x' must answer within 1 s")


def scored(outcomes, name="environment", answers=("7", "7", "7")):
    number = len(outcomes)
    rollouts = Rollouts(
        ["p"] * number,
        answers,
        [[1]] * number,
        [False] * number,
        {"answer": ["7"] * number},
        1,
        outcomes=outcomes,
    )
    return Scorer([RewardSpec(name)], error_limit=0.5).score(rollouts).verdicts


def test_its_own_reward_is_the_score():
    right, graded, failed = scored([Judged(0.9, True), 0.25, FAILED])
    assert (right.score, right.kind) == (0.9, VerdictKind.CORRECT)
    assert (graded.score, graded.kind) == (0.25, VerdictKind.GRADED)
    assert failed == FAILED


def test_one_that_a_limit_ended_is_told_by_that_limit_and_keeps_its_score():
    (cut,) = scored([Judged(0.25, False, limit="environment.max_turns = 2")], answers=("7",))
    assert (cut.score, cut.kind) == (0.25, VerdictKind.TRUNCATED)
    assert cut.reason == "environment gave 0.25, environment.max_turns = 2 ended it"


def test_a_conversation_that_failed_is_worth_nothing_whatever_its_answer():
    right, wrong, failed = scored([0.0, 0.0, FAILED], "exact", ("7", "8", "7"))
    assert [right.score, wrong.score, failed.score] == [1.0, 0.0, None]
    assert failed == FAILED
