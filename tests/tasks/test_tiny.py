"""The tiny skills: meanings worked out by hand, and splits that never meet."""

from collections import Counter

import pytest

from rlpeft.errors import DataError
from rlpeft.tasks.base import SPLITS
from rlpeft.tasks.tiny import SKILLS, digit_strings, gold, question, tiny_task, wanted_share


@pytest.mark.parametrize(
    ("skill", "digits", "wanted", "other"),
    [
        ("swap", "3714", "1437", "4173"),
        ("sort", "3714", "7431", "1347"),
        ("ends", "3714", "7", "12"),
        ("ends", "9128", "17", "72"),
        ("copy", "3714", "3714", "3714"),
    ],
)
def test_meanings_are_those_of_the_table(skill, digits, wanted, other):
    assert SKILLS[skill].wanted(digits) == wanted
    assert SKILLS[skill].other(digits) == other


@pytest.mark.parametrize("name", ["tiny/swap", "tiny/mix", "tiny/kind"])
def test_splits_share_no_digits_and_have_the_numbers_asked_for(name):
    task = tiny_task(name, num_validation=300, num_test=700)
    digits = {split: {p.id.split("/")[-1] for p in task.split(split)} for split in SPLITS}
    assert [len(digits[split]) for split in SPLITS] == [4561, 300, 700]
    assert len(set.union(*digits.values())) == 4561 + 300 + 700


def test_train_digits_are_the_same_under_every_seed():
    tasks = [tiny_task("tiny/swap", num_validation=10, num_test=10, seed=seed) for seed in (0, 1)]
    train = [{problem.prompt for problem in task.split("train")} for task in tasks]
    tests = [{problem.prompt for problem in task.split("test")} for task in tasks]
    assert train[0] == train[1]
    assert tests[0] != tests[1]
    assert not train[0] & tests[1]


def test_held_out_digits_are_not_trainable_and_none_holds_a_zero():
    trainable, held_out = digit_strings()
    assert not set(trainable) & set(held_out)
    assert len({*trainable, *held_out}) == 9**4
    assert not any("0" in digits for digits in trainable + held_out)


def test_mix_draws_evenly_from_the_three_ambiguous_skills():
    problems = tiny_task("tiny/mix", num_validation=3, num_test=600).split("test")
    assert Counter(p.columns["skill"] for p in problems) == {"swap": 200, "sort": 200, "ends": 200}
    for problem in problems:
        _, skill, digits = problem.id.split("/")
        assert problem.prompt == f"{digits}{SKILLS[skill].sign}="
        assert problem.answer == SKILLS[skill].wanted(digits)


def test_kind_names_the_skill_and_calls_copy_others():
    problems = tiny_task("tiny/kind", num_validation=4, num_test=40).split("test")
    named = {problem.prompt[5]: problem.answer for problem in problems}
    assert named == {"@": "swap", "#": "sort", "&": "ends", ":": "others"}


def test_wanted_share_averages_to_less_than_half_over_all_digits():
    trainable, held_out = digit_strings()
    shares = [wanted_share(digits) for digits in trainable + held_out]
    assert sum(shares) / len(shares) == pytest.approx((4 * 0.8 + 5 * 0.2) / 9)


def test_chat_gives_the_same_question_as_a_user_turn():
    plain = tiny_task("tiny/sort", num_validation=1, num_test=5).split("test")
    chat = tiny_task("tiny/sort", num_validation=1, num_test=5, chat=True).split("test")
    assert [p.prompt for p in chat] == [({"role": "user", "content": q.prompt},) for q in plain]


def test_more_problems_than_are_held_out_is_refused():
    with pytest.raises(DataError, match=r"at most 2000 .* got 1500 \+ 501"):
        tiny_task("tiny/swap", num_validation=1500, num_test=501)


def test_an_unknown_skill_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match=r"tiny/swap, .*tiny/mix, got 'tiny/spin'"):
        tiny_task("tiny/spin", num_validation=1, num_test=1)


@pytest.mark.parametrize(
    ("name", "sign", "answer"),
    [("reverse", "@", "4173"), ("rise", "#", "1347"), ("times", "&", "12")],
)
def test_an_opposite_asks_for_the_other_meaning_of_the_same_sign(name, sign, answer):
    assert question(name, "3714") == f"3714{sign}="
    assert gold(name, "3714") == answer
    problems = tiny_task(f"tiny/{name}", num_validation=1, num_test=5).split("test")
    digits = [problem.id.split("/")[-1] for problem in problems]
    assert [problem.answer for problem in problems] == [gold(name, each) for each in digits]


def test_a_mixture_asks_for_its_skills_in_turn_the_repeated_one_more_often():
    task = tiny_task("tiny/mix", num_validation=1, num_test=40, skills=["swap", "swap", "rise"])
    found = Counter(problem.columns["skill"] for problem in task.split("test"))
    assert found == {"swap": 27, "rise": 13}


@pytest.mark.parametrize(
    ("name", "skills", "said"),
    [
        ("tiny/mix", ["swop"], r"skills must be of swap, .* got 'swop'\. Did you mean 'swap'"),
        ("tiny/swap", ["sort"], r"skills is of tiny/mix alone, got \['sort'\] with tiny/swap"),
    ],
)
def test_skills_that_cannot_be_mixed_are_refused(name, skills, said):
    with pytest.raises(DataError, match=said):
        tiny_task(name, num_validation=1, num_test=1, skills=skills)
