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


@pytest.mark.parametrize(
    ("gold", "same", "other"),
    [
        ("1,1,2", "2,1,1", "1,2,2"), ("1,1,2", "\\{1,1,2\\}", "1,2"), ("1 and 1", "1 and 1", "1"),
        ("1,1,2", "1 and 1 and 2", "\\{1,2\\}"), ("1", "1", "1,1,1"), ("2", "\\{2\\}", "2 and 2"),
    ],
)  # fmt: skip
def test_what_a_plain_list_repeats_counts(gold, same, other):
    assert score(gold, same) == score(gold, same, LENIENT) == 1.0
    assert score(gold, other) == score(gold, other, LENIENT) == 0.0


@pytest.mark.parametrize(
    ("gold", "same"),
    [
        ("2,3", "2,3,3"), ("\\{1,1,2\\}", "1,2"), ("\\{1,2\\}", "1,1,2"), ("1,2", "\\{1,2,2\\}"),
        ("\\frac12", "0.5, \\frac12"), ("1, \\frac12, 0.5", "0.5, 1"), ("5", "5 or 5"),
    ],
)  # fmt: skip
def test_sets_roots_and_other_forms_of_a_value_may_repeat(gold, same):
    assert score(gold, same) == score(gold, same, LENIENT) == 1.0


def test_boxes_that_form_a_list_keep_their_repeats():
    assert verify("\\boxed{1}, \\boxed{1} and \\boxed{2}", "1,1,2").score == 1.0
    assert verify("\\boxed{1}, \\boxed{2} and \\boxed{2}", "1,1,2").score == 0.0
    assert verify("\\boxed{1} and \\boxed{1}", "1").score == 1.0


def test_a_remainder_may_leave_out_its_modulus_as_it_may_add_it():
    assert score("3 \\pmod 5", "3") == score("3", "3 \\pmod 5") == 1.0
    assert score("3 \\pmod 5", "8") == score("8", "3 \\pmod 5") == 0.0
    assert score("8 \\pmod 5", "8") == 0.0
    assert score("x \\equiv 3 \\pmod 7", "3") == 0.0  # all of a class was asked for


def test_a_modulus_without_a_value_is_no_error():
    assert score("3", "3 \\pmod{1/0}") == 0.0


@pytest.mark.parametrize(
    ("gold", "same"),
    [
        ("105", "one hundred and five"), ("125 apples", "one hundred and twenty-five apples"),
        ("1005", "\\text{one thousand and five}"), ("-3", "minus 3"), ("-3", "negative 3"),
        ("-1/2", "minus \\frac12"), ("-\\$5", "minus \\$5"),
        ("200, 300", "two hundred and three hundred"), ("1, 2", "one and two"),
        ("100, 5000", "one hundred and five thousand"),
    ],
)  # fmt: skip
def test_numbers_in_words_are_read_to_their_end(gold, same):
    assert score(gold, same) == score(gold, same, LENIENT) == 1.0
