"""What may stand behind a number: units that are known, multipliers, nouns that are counted."""

import pytest

from rewards import verify
from rewards.math.policy import LENIENT, STRICT


def score(gold: str, answer: str, policy=STRICT) -> float | None:
    return verify(f"\\boxed{{{answer}}}", gold, policy=policy).score


CHANGES_VALUE = [
    "5\\text{ thousands}", "5\\text{ hundred}", "5\\text{ millions}", "5\\text{ zillion}",
    "5\\text{ lakhs}", "5\\text{ crore}", "5\\text{ dozens}", "5\\text{ tens}", "5\\text{ gross}",
    "5\\text{ tenths}", "5\\text{ halves}", "5\\text{ thousandths}", "5\\text{ thirteenths}",
    "5\\text{ factorial}",
    "5\\text{ squared}", "5\\text{ cubed}", "5\\text{k}", "5\\text{M}", "5\\text{K}",
    "5\\text{bn}", "5\\text{B}", "\\$5k", "5\\text{万}", "5\\text{亿}", "5\\text{만}",
    "5\\text{ mil}", "5\\text{ millones}", "5\\text{ тысяч}",
    "5 \\text{ out of six}", "5 \\text{ out of }6", "5\\text{ of six}", "5\\text{ and a half}",
    "5\\text{ score}", "5\\text{ at least}", "5\\text{ G}", "5\\text{ mod }3",
    "5\\text{ basis points}", "5\\text{ googols}", "5\\text{ plus}", "5\\text{ minus one}",
    "5\\text{ base seven}", "5\\text{ or more}", "5\\text{ dozen eggs}", "5万人",
]  # fmt: skip


@pytest.mark.parametrize("policy", [STRICT, LENIENT], ids=["strict", "lenient"])
@pytest.mark.parametrize("answer", CHANGES_VALUE)
def test_a_word_that_changes_the_value_is_not_skipped(answer, policy):
    assert score("5", answer, policy) == 0.0


@pytest.mark.parametrize(
    "answer", ["5\\text{ zork}", "5\\text{ lorem ipsum}", "5\\text{苹}", "5\\text{q}"]
)
def test_a_word_that_is_no_unit_is_not_skipped(answer):
    assert score("5", answer) == score("5", answer, LENIENT) == 0.0


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("5000", "5\\text{ thousand}"), ("5000", "5\\text{k}"), ("60", "5\\text{ dozen}"),
        ("500000", "5\\text{ lakh}"), ("5000000", "\\$5\\text{M}"), ("0.5", "5\\text{ tenths}"),
        ("0.05", "5\\text{ per cent}"), ("120", "5\\text{ factorial}"), ("25", "5\\text{ squared}"),
        ("50000", "5\\text{万}"), ("35000", "3万5千"), ("50000", "5만"), ("5000", "5\\text{ mil}"),
        ("5000000", "5\\text{ millones}"),
        ("\\frac14", "1\\text{ out of }4"), ("5.5", "5 and a half"),
        ("1500000", "1.5\\text{ million dollars}"), ("5\\text{ dozen}", "60"),
    ],
)  # fmt: skip
def test_multipliers_multiply(gold, answer):
    assert score(gold, answer) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "5\\text{ apples}", "5\\text{ red apples}", "5\\text{ people}", "5\\text{ boxes in total}",
        "5\\text{ years old}", "5\\text{ cups of flour}", "5\\text{ kWh}", "5\\,\\mathrm{mol}^{-1}",
        "5\\text{ N}\\cdot\\text{m}", "5\\text{ kPa}", "5\\text{ meters per second squared}",
        "5\\text{ miles an hour}", "5\\text{ dollars each}", "5\\text{ in total}", "5 more",
        "5\\text{ (maximum)}", "5\\text{ (cm)}", "5\\text{个}", "5平方厘米", "5個です", "5개입니다",
        "5个苹果", "5\\text{元}", "5ドル", "5\\text{ долларов}", "5\\text{ ডলার}", "5\\text{ บาท}",
        "\\text{Rs. }5", "Rs 5", "\\text{USD }5", "US\\$5", "5\\text{ EUR}", "₩5", "HK\\$5",
        "5\\text{ K}", "5\\,\\mathrm{m/s^2}",
        "5\\,\\mathrm{N\\cdot m}", "5\\text{ sq. ft.}", "5/-",
        "\\approx 5", "\\approx5\\text{ cm}", "≈ 5", "\\text{about }5", "\\pounds 5",
        "\\text{AUD }5",
        "5\\ \\mathrm{J\\cdot mol^{-1}\\cdot K^{-1}}", "5\\text{ pairs}",
        "5\\text{ J/(mol·K)}",
    ],
)  # fmt: skip
def test_known_units_and_counted_nouns_leave_the_number(answer):
    assert score("5", answer) == 1.0


def test_one_and_fractions_count_in_the_singular():
    assert score("1", "1\\text{ mug}") == score("\\frac12", "\\frac12\\text{ mug}") == 1.0
    assert score("5", "5\\text{ mug}") == 0.0


@pytest.mark.parametrize(
    "gold",
    [
        "2 \\text{ hours } 30 \\text{ minutes}", "6\\text{ ft }3\\text{ in}", "30^\\circ 15'",
        "30°15′20″", "30^{\\circ}15^{\\prime}", "6'3\"", "1 hour and 20 minutes",
        "3\\text{ lb }4\\text{ oz}",
        "2\\text{ dollars and }50\\text{ cents}", "1\\text{ week, }2\\text{ days}",
    ],
)  # fmt: skip
def test_compound_quantities_equal_themselves_and_not_their_first_part(gold):
    assert score(gold, gold) == 1.0
    assert score(gold, "2") == score(gold, "30^\\circ") == score(gold, "6\\text{ ft}") == 0.0


def test_compound_quantities_are_one_amount_where_units_convert():
    gold = "2 \\text{ hours } 30 \\text{ minutes}"
    assert score(gold, "2\\text{ hours and }30\\text{ min}") == 1.0
    assert score(gold, "2\\text{ hours }31\\text{ minutes}") == 0.0
    assert score(gold, "150\\text{ minutes}") == 0.0
    assert score(gold, "150\\text{ minutes}", LENIENT) == 1.0
    assert score(gold, "2.5\\text{ hours}", LENIENT) == 1.0
    assert score("30^\\circ 15'", "30.25^\\circ", LENIENT) == 1.0


def test_a_list_of_lengths_is_no_compound():
    assert score("5\\text{ m}, 3\\text{ m}", "3\\text{ m}, 5\\text{ m}") == 1.0


@pytest.mark.parametrize(
    "answer", ["5th", "5^{th}", "5^{\\text{th}}", "5\\textsuperscript{th}", "fifth", "5^\\text{th}"]
)  # fmt: skip
def test_ordinals_are_one_place_in_every_spelling(answer):
    assert score("5th", answer) == score("5^{\\text{th}}", answer) == score("5", answer) == 1.0
    assert score("6th", answer) == 0.0
