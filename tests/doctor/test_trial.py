"""Completions made for real rows: their forms, and what has to earn less than a right answer."""

import pytest

from rewards.verdict import Verdict, VerdictKind
from rlpeft.doctor.trial import BOXED, GOLD_FORMS, PROGRAM, Trial, another


class Marked:
    """Right is what stands in this form, on rows whose answers are known."""

    def __init__(self, golds, form):
        self.right = [form.format(gold) for gold in golds]
        self.cuts = []

    def __call__(self, texts, *, cut):
        self.cuts.append(cut)
        return [
            Verdict(1.0, VerdictKind.CORRECT) if text == right else Verdict(0.0, VerdictKind.WRONG)
            for text, right in zip(texts, self.right, strict=True)
        ]


@pytest.mark.parametrize("form", GOLD_FORMS)
def test_the_form_that_is_taken_best_is_found_and_used_for_wrong_answers(form):
    trial = Trial(Marked(["7", "8"], form), ["7", "8"])
    assert (trial.form, trial.right.score) == (form, 1.0)
    assert trial.wrong().texts == [form.format("8"), form.format("7")]
    assert trial.wrong().score == 0.0


def test_a_form_in_which_more_answers_are_correct_beats_a_higher_mean():
    def judge(texts, *, cut):
        if texts[0] == "7":
            return [Verdict(9.0, VerdictKind.WRONG)] * 2
        return [Verdict(1.0, VerdictKind.CORRECT)] * 2

    assert Trial(judge, ["7", "8"], forms=["{}", "#### {}"]).form == "#### {}"


def test_only_what_a_limit_ended_is_said_to_be_cut_off():
    judge = Marked(["7"], "{}")
    trial = Trial(judge, ["7"], forms=["{}"])
    for sort in (trial.wrong, trial.empty, trial.truncated, trial.hostile):
        sort()
    assert judge.cuts == [False, False, False, True, False]


def test_a_wrong_program_is_a_program():
    trial = Trial(Marked(["x = 1"], PROGRAM), ["x = 1"], forms=[PROGRAM])
    assert trial.right.score == 1.0
    assert trial.wrong().texts == [PROGRAM.format("def f():\n    return None")]


@pytest.mark.parametrize(
    ("form", "wanted"),
    [("{}", "9**9**9**9"), (BOXED, "\\boxed{9**9**9**9}"), ("#### {}", "#### 9**9**9**9")],
)
def test_what_is_hostile_has_the_form_that_the_reward_takes(form, wanted):
    assert Trial(Marked(["7"], form), ["7"]).hostile().texts == [wanted]


def test_what_is_hostile_to_a_reward_of_programs_is_a_program():
    [text] = Trial(Marked(["x = 1"], PROGRAM), ["x = 1"], forms=[PROGRAM]).hostile().texts
    assert text == PROGRAM.format("import os\nos._exit(0)")


def test_nothing_scored_is_no_score_and_worth_less_than_any():
    trial = Trial(lambda texts, *, cut: [Verdict(None, VerdictKind.UNSCORABLE)], ["7"])
    assert trial.right.score is None
    assert trial.right.worth == (0, float("-inf"))


@pytest.mark.parametrize(
    ("gold", "golds", "other"),
    [
        ("7", ["7", "", "8"], "8"),
        ("7", ["7"], "71"),
        ("A", ["A"], "B"),
        ("C", ["C"], "A"),
        ("spam", ["spam", "ham"], "ham"),
    ],
)
def test_another_answer_has_the_form_of_the_right_one(gold, golds, other):
    assert another(gold, golds) == other
