"""Answers that look like arithmetic and are none: names, words, dates, numerals, remainders."""

import pytest

from rewards import verify
from rewards.math.policy import LENIENT, STRICT


def score(gold: str, answer: str, policy=STRICT) -> float | None:
    return verify(f"\\boxed{{{answer}}}", gold, policy=policy).score


@pytest.mark.parametrize(
    ("gold", "other"),
    [
        ("HHT", "HTH"), ("RGB", "RBG"), ("DEF", "FED"), ("dog", "god"), ("tea", "eat"),
        ("HHT, HTH", "HTH, THH"), ("x = HHT", "HTH"), ("(RGB, 3)", "(RBG, 3)"),
        ("\\{HHT\\}", "\\{HTH\\}"),
    ],
)  # fmt: skip
def test_letters_in_another_order_are_another_name(gold, other):
    assert score(gold, gold) == score(gold, gold, LENIENT) == 1.0
    assert score(gold, other) == score(gold, other, LENIENT) == 0.0


def test_a_name_in_a_sentence_is_compared_as_written():
    assert verify("The order is CBA.", "ABC").score == 0.0
    assert verify("The order is ABC.", "ABC").score == 1.0


@pytest.mark.parametrize(
    ("gold", "same"),
    [
        ("HHT, HTH", "\\text{HTH}, \\text{HHT}"), ("HHT", "H H T"),
        ("ABC", "A \\cdot B \\cdot C"), ("A \\cdot B \\cdot C", "CBA"),
        ("2ABC", "2CBA"), ("ABC + 1", "CBA + 1"), ("ABC = 5", "5"),
        ("ab", "ba"), ("xyz", "zyx"), ("2xy", "2yx"), ("AB", "BA"),
        ("abc", "cba"), ("mgh", "ghm"), ("mga", "mag"),
        ("\\angle ABC", "\\angle CBA"), ("\\overline{AB}", "\\overline{BA}"),
    ],
)  # fmt: skip
def test_products_keep_their_factors_in_any_order(gold, same):
    assert score(gold, same) == score(gold, same, LENIENT) == 1.0


@pytest.mark.parametrize(
    ("gold", "same", "other"),
    [
        ("2020-01-02", "2020-1-2", "2020-02-01"),
        ("2021-03-04", "2021/03/04", "2021-04-03"),
        ("01/02/2020", "1/2/2020", "02/01/2020"),
        ("2020-12-31", "12/31/2020", "12/30/2020"),
        ("x = 2020-01-02", "\\text{2020-01-02}", "2017"),
        ("2020-01-02, 2020-03-04", "2020-03-04 and 2020-01-02", "2020-03-04, 2020-02-01"),
    ],
)
def test_dates_are_no_arithmetic(gold, same, other):
    assert score(gold, same) == score(gold, same, LENIENT) == 1.0
    assert score(gold, other) == score(gold, other, LENIENT) == 0.0
    assert verify(f"The answer is {same}.", gold).score == 1.0


@pytest.mark.parametrize(
    ("gold", "same"),
    [("2020 - 01 - 02", "2017"), ("1000-10-10+5", "985"), ("15-3/4-2", "15-2-3/4")],
)
def test_differences_and_quotients_are_no_dates(gold, same):
    assert score(gold, same, LENIENT) == 1.0


@pytest.mark.parametrize(
    ("gold", "same", "other"),
    [
        ("ABC_{16}", "ABC_16", "BAC_{16}"),
        ("A1_{16}", "(A1)_{16}", "1A_{16}"),
        ("FF_{16}", "\\text{ff}_{16}", "FE_{16}"),
        ("x = 1E5_{16}", "01E5_{16}", "1E6_{16}"),
        ("204_5", "(204)_5", "(204)_6"),
    ],
)
def test_numerals_of_a_base_may_hold_letters(gold, same, other):
    assert score(gold, same) == score(gold, same, LENIENT) == 1.0
    assert score(gold, other) == score(gold, other, LENIENT) == 0.0


@pytest.mark.parametrize(
    ("gold", "same"),
    [("2A_{12}+3", "3+2A_{12}"), ("2a_{16}", "a_{16} \\cdot 2"), ("ab_{12}", "b_{12}a")],
)
def test_factors_with_a_subscript_are_no_numerals(gold, same):
    assert score(gold, same) == 1.0


def test_a_numeral_with_letters_matches_no_number_in_any_policy():
    assert score("ABC_{16}", "2748", LENIENT) == score("2748", "ABC_{16}", LENIENT) == 0.0
