"""Votes: answers are one where the verifier that judges them says so."""

import pytest

from rewards.registry import REWARDS, is_verifier
from rewards.votes import compares_answers, leading, same_answer


@pytest.mark.parametrize(
    ("reward", "options", "one", "other", "is_one"),
    [
        ("math", {}, "0.5", "1/2", True),
        ("math", {"gold": "solution"}, r"\frac{1}{2}", "50%", True),
        ("math", {}, "1/2", "1/3", False),
        ("choice", {}, "B", "b", True),
        ("choice", {}, "B", "C", False),
        ("label", {"labels": ["yes", "no"]}, "Yes", "yes", True),
        ("label", {"labels": ["yes", "no"]}, "no", "yes", False),
        ("exact", {"casefold": True}, "AB", "ab", True),
        ("exact", {}, "AB", "ab", False),
        ("exact", {"several": True}, "a  b", "a b", True),
        ("regex", {}, "7", "[0-9]", False),
        ("code", {}, "f = 1", "f = 1 ", False),
        ("mine:reward", {}, "7", "7.0", False),
        ("mine:reward", {}, "7", "7", True),
    ],
)
def test_answers_are_one_by_their_verifier_or_by_their_letters(reward, options, one, other, is_one):
    assert same_answer(reward, options)(one, other) is is_one


def test_a_verifier_that_compares_answers_finds_each_the_same_as_itself():
    for name in filter(compares_answers, REWARDS):
        assert is_verifier(name)
        for answer in ("7", "B"):
            found = REWARDS[name].form.format(answer)
            assert answer in found


@pytest.mark.parametrize(
    ("answers", "winners"),
    [
        (["0.5", "7", "1/2"], [[0, 2]]),
        (["7", "8", "9", "8"], [[1, 3]]),
        (["7", "8"], [[0], [1]]),
        ([None, "7", None], [[1]]),
        ([None, None], []),
        ([], []),
    ],
)
def test_the_answer_that_most_give_leads(answers, winners):
    assert leading(answers, same_answer("math", {})) == winners
