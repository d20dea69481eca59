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
