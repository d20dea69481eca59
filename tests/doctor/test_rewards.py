"""The dry run of a reward: gold, wrong and empty answers to real rows."""

from types import SimpleNamespace

import pytest

from rewards.errors import RewardError
from rewards.scorer import RewardSpec, ScoredBatch, Scorer
from rewards.verdict import Verdict, VerdictKind
from rlpeft.doctor.rewards import MEND_NONE, check_golds, check_reward
from rlpeft.errors import DataError
from rlpeft.tasks.base import ProblemSet
from rlpeft.types import Problem


def rows(answers, name, **options):
    problems = [Problem(f"p{i}", f"{i}+1=", answer) for i, answer in enumerate(answers)]
    return list(check_reward(problems, Scorer([RewardSpec(name, options=options)])))


def test_a_reward_that_tells_right_from_wrong_passes():
    found = rows(["7", "8"], "exact")
    assert [check.status for check in found] == ["ok", "ok", "ok"]
    assert [check.found for check in found] == [
        "2 of 2 correct, written as 'GOLD'",
        "2 of 2 wrong",
        "2 of 2 wrong",
    ]


class MarkedOnly:
    """Scores only what stands behind the mark that GSM8K uses."""

    def score(self, rollouts):
        pairs = zip(rollouts.completions, rollouts.columns["answer"], strict=True)
        right = [text == f"#### {answer}" for text, answer in pairs]
        kinds = [VerdictKind.CORRECT if found else VerdictKind.WRONG for found in right]
        verdicts = [Verdict(float(r), kind) for r, kind in zip(right, kinds, strict=True)]
        return ScoredBatch(verdicts, {"marked": verdicts}, {}, {})


def test_the_form_in_which_gold_is_accepted_is_found():
    problems = [Problem("p0", "0+7=", "7"), Problem("p1", "1+7=", "8")]
    gold = next(check_reward(problems, MarkedOnly()))
    assert (gold.status, gold.found) == ("ok", "2 of 2 correct, written as '#### GOLD'")


def test_gold_answers_that_can_only_be_compared_as_text_fail():
    gold, wrong, _ = rows(["7", "see the figure"], "math")
    assert gold.status == "ok"  # the same words are the same answer
    assert wrong.status == "fail"
    assert "1 of 2 unscorable" in wrong.found
    assert "see the figure" in wrong.found


def test_a_reward_that_likes_everything_is_a_warning():
    found = rows(["7", "8"], "regex_format", pattern="(?s).*")
    assert [check.status for check in found] == ["ok", "warn", "warn"]


def test_a_reward_that_likes_nothing_is_a_warning():
    gold, wrong, empty = rows(["7", "8"], "regex_format", pattern="never")
    assert gold.status == "warn"
    assert (wrong.status, empty.status) == ("ok", "ok")


def test_rows_without_gold_answers_are_a_warning():
    (check,) = rows(["", ""], "length")
    assert (check.name, check.status) == ("reward on gold answers", "warn")


def test_a_reward_that_cannot_be_called_raises():
    with pytest.raises(RewardError, match="solution"):
        rows(["7"], "accuracy_reward")


def test_the_only_answer_there_is_still_has_a_wrong_one():
    assert rows(["7"], "exact")[1].found == "1 of 1 wrong"


class Partial:
    """Gives three tenths to anything and the rest to what ends in the gold answer."""

    def __init__(self, rest=0.7, least=0.3):
        self.rest, self.least = rest, least

    def score(self, rollouts):
        pairs = zip(rollouts.completions, rollouts.columns["answer"], strict=True)
        verdicts = [
            Verdict(self.least + self.rest * text.endswith(answer), VerdictKind.GRADED)
            for text, answer in pairs
        ]
        return ScoredBatch(verdicts, {"partial": verdicts}, {}, {})


def test_graded_answers_are_compared_by_their_mean_score():
    problems = [Problem("p0", "0+7=", "7"), Problem("p1", "1+7=", "8")]
    gold, wrong, empty = check_reward(problems, Partial())
    assert (gold.status, gold.found) == ("ok", "mean score 1.000, written as 'GOLD'; no accuracy")
    assert (wrong.status, wrong.found) == ("ok", "2 of 2 graded, mean score 0.300")
    assert empty.status == "ok"


@pytest.mark.parametrize(("least", "refused"), [(0.3, "warn"), (0.0, "ok")])
def test_a_constant_reward_is_a_fault_and_not_one_of_being_lenient(least, refused):
    problems = [Problem("p0", "0+7=", "7"), Problem("p1", "1+7=", "8")]
    gold, wrong, empty = check_reward(problems, Partial(0.0, least))
    assert gold.status == "fail"
    assert gold.found.startswith(f"right, wrong and empty answers all get the score {least:.3f}")
    assert (wrong.status, empty.status) == (refused, refused)


def test_a_function_that_returns_none_is_told_so_and_not_to_mend_gold_answers(
    tmp_path, monkeypatch
):
    (tmp_path / "gives_none.py").write_text(
        "def judge(completions, answer, **_):\n    return [None for _ in completions]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for check in rows(["7", "8"], "gives_none:judge"):
        assert (check.status, check.advice) == ("fail", MEND_NONE)


def test_a_graded_reward_that_gives_wrong_answers_more_is_a_warning():
    problems = [Problem("p0", "0+7=", "7"), Problem("p1", "1+7=", "8")]
    gold, wrong, _ = check_reward(problems, Partial(-0.2))
    assert (gold.status, wrong.status) == ("warn", "warn")
    assert "wrong ones get 0.300, no less" in gold.found


def test_the_first_of_several_right_answers_is_tried():
    golds = {"answer": ["7", "seven"]}
    problems = [Problem("p0", "0+7=", '["7", "seven"]', golds), Problem("p1", "1+7=", "8")]
    scorer = Scorer([RewardSpec("exact", options={"several": True})])
    assert [check.status for check in check_reward(problems, scorer)] == ["ok", "ok", "ok"]


def test_a_blank_gold_answer_that_a_run_would_refuse_is_refused_before_it():
    rows = [Problem(f"t/train/{n}", "p", g, {"target": g}) for n, g in enumerate(["7", ""])]
    others = {s: (Problem(f"t/{s}/0", "q", "8", {"target": "8"}),) for s in ("validation", "test")}
    task = ProblemSet("t", {"train": tuple(rows), **others})
    scorer = SimpleNamespace(gold_rules=[], required_columns=frozenset({"target"}))
    with pytest.raises(DataError, match=r"'rows.csv', row 2 .*a gold answer must be there"):
        list(check_golds(task, scorer, "rows.csv"))
