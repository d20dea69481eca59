"""The calculator, on what models write."""

from fractions import Fraction

import pytest

from rewards import RewardError
from rewards.environments.base import Step
from rewards.environments.calculator import Calculator, calculate, decimal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2*(3+4)^2 / 4", Fraction(49, 2)),
        ("-2^2", -4),
        ("2**3**2", 512),
        ("7 % 4 - .5", Fraction(5, 2)),
        ("--3", 3),
        ("2^-2", Fraction(1, 4)),
    ],
)
def test_expressions_are_calculated_exactly(text, value):
    assert calculate(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1/0", "division by zero"),
        ("0^-1", "division by zero"),
        ("9^9^9", "an exponent"),
        ("9^999*9^999*9^999*9^999*9^999", "too large"),
        ("(" * 300, "longer than"),
        ("(1+2", "a bracket"),
        ("2 +", "too early"),
        ("__import__('os')", "cannot read"),
        ("3 4", "cannot read '4'"),
    ],
)
def test_what_cannot_be_calculated_says_why(text, said):
    with pytest.raises(ValueError, match=said):
        calculate(text)


def test_results_are_written_as_people_write_them():
    assert [decimal(Fraction(*pair)) for pair in ((6, 2), (1, 4), (1, 3))] == [
        "3",
        "0.25",
        "0.333333333333",
    ]


def test_the_last_call_of_a_turn_is_answered():
    answer = Calculator().step("first <calc>1+1</calc>, then <calc>2*3")
    assert answer == Step("<result>6</result>")


def test_a_turn_without_a_call_is_the_last():
    assert Calculator().step("It is 6.").done


def test_a_call_that_cannot_be_read_is_told_so():
    assert Calculator().step("<calc>two</calc>").observation == (
        "<result>error: cannot read 'two'</result>"
    )


def test_a_whole_turn_may_be_the_call():
    tool = Calculator(open="", close="", calculates="{} % 7", reply="{}&=")
    assert tool.step(" 1437 ") == Step("2&=")
    assert tool.step("none").done


def test_a_reply_without_a_place_for_the_result_is_refused():
    with pytest.raises(RewardError, match="reply of a calculator must hold"):
        Calculator(reply="done")
