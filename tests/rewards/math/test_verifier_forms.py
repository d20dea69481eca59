"""Forms that a careful human reads: parts in words, clocks, ratios, Chinese numbers, denials."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import verify
from rewards.math.policy import LENIENT, STRICT

SETTINGS = settings(max_examples=100, deadline=None, derandomize=True)


def score(gold: str, answer: str, policy=LENIENT) -> float | None:
    return verify(f"\\boxed{{{answer}}}", gold, policy=policy).score


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1/2", "a half"), ("1/4", "a quarter"), ("1/8", "an eighth"), ("-1/2", "minus a half"),
        ("3/4", "three quarters"), ("3/2", "one and a half"), ("1.25", "1 and a quarter"),
        ("12", "a dozen"), ("6", "half a dozen"), ("500000", "half a million"),
        ("105", "a hundred and five"), ("1/2 hour", "half an hour"),
        ("35", "三十五"), ("105", "一百零五"), ("102", "百二"), ("2024", "二〇二四"),
        ("35000", "三万五千"), ("350000000", "三亿五千万"), ("-3", "负三"), ("2.5", "二点五"),
        ("2/3", "三分之二"), ("2/3", "三分の二"), ("50%", "百分之五十"), ("1/2", "一半"),
        ("35 元", "三十五元"), ("12", "十二人"), ("35", "三十五です"),
        ("3:45 PM", "3:45 p.m."), ("3:45 PM", "3:45pm"), ("3:45 PM", "15:45"), ("9 AM", "9:00 AM"),
        ("12:30 AM", "0:30"), ("noon", "12:00 PM"), ("3 o'clock", "3:00"), ("9:00 AM", "09:00"),
        ("35", "삼십오"), ("35", "삼십오개"), ("35", "参拾伍"), ("1000000", "百万"),
        ("3:15", "a quarter past three"), ("3:30", "half past three"), ("4:45", "quarter to five"),
        ("15:30", "下午3点30分"), ("15:30", "15時30分"), ("3:30", "3点半"),
        ("3:05 AM", "上午3点5分"), ("15:30", "下午15点30分"), ("2 hours 30 minutes", "2时30分"),
        ("8:30", "half past 8"), ("4:15", "a quarter past 4"), ("3:50", "ten minutes to four"),
        ("4:05", "five past four"), ("4:25", "twenty-five past four"),
        ("7:30 PM", "half past seven in the evening"), ("8:30 PM", "half past 8 PM"),
        ("6:45 AM", "6:45 in the morning"), ("18:45", "6:45 in the evening"),
        ("12:00 PM", "12:00 noon"), ("12:00 AM", "12:00 midnight"), ("7 AM", "7 in the morning"),
        ("9 PM", "9 o'clock in the evening"), ("10 PM", "10\\text{ at night}"),
        ("2 AM", "2\\text{ at night}"), ("3", "3 in the morning"),
        ("12:45", "quarter to one"), ("7", "7 rather than 8"), ("7", "7 instead of 8"),
        ("7", "7 but not 8"), ("7", "7 (seven)"), ("7", "7 (or seven)"),
        ("1/2", "0.5 (or one half)"), ("7", "7 (and not 8)"), ("-2.5", "minus two and a half"),
        ("15", "fifteen (15)"), ("2.5", "5/2 (2.5)"), ("2.5", "2.5 (5/2)"), ("2.5", "5/2 (or 2.5)"),
        ("7", "7 (7.0)"), ("0.5", "0.5 (50\\%)"), ("12", "12 (a dozen)"), ("5,7", "5, 7 (7, 5)"),
        ("18", "a dozen and a half"), ("3.25", "three point two five"),
        ("3500000", "three point five million"), ("-0.5", "minus zero point five"),
        ("3:2", "3 to 2"), ("3:2", "3 : 2"), ("7", "7 (not 8)"), ("7", "7, not 8"),
        ("7 cm", "7 cm (not 8 cm)"), ("x = 7", "7 and not 8"), ("seven", "7 (not 8)"),
        ("15", "5!!"), ("48", "6!!"), ("1+5!!", "16"),
        ("2/3", "3분의 2"), ("2/3", "삼분의 이"), ("-2/3", "-3분의 2입니다"), ("3/10", "10分の3"),
        ("3/10", "10分之3"), ("2.5", "两个半"), ("2.5, 3", "2个半, 3"), ("1.5 hours", "一个半小时"),
        ("10", "C(5,2)"), ("20", "C(6, 3)"), ("6:45 PM", "6:45 pm in the evening"),
        ("10 PM", "10 PM at night"), ("12 PM", "12 PM noon"),
        ("-2/3", "−三分之二"), ("-3", "-三"), ("7/3", "2又3分之1"), ("7/3", "2と3分の1"),
        ("-7/3", "-2又3分之1"), ("7/3", "二又三分之一"), ("30%", "3割"), ("30%", "三割です"),
        ("35%", "3割5分"), ("35%", "三割五分"), ("2.5 years", "两年半"), ("2.5 years", "2年半"),
        ("2.5 hours", "两个小时半"), ("2.5 hours", "2時間半"), ("10", "_5C_2"),
        ("10", "{}_{5}C_{2}"), ("11", "_5C_2 + 1"), ("10", "5 choose 2"),
        ("10", "5 \\choose 2"), ("1", "10割"), ("2", "20割"), ("0.352", "三割五分二厘"),
        ("-7/3", "负2又3分之1"), ("-2/3", "负3分之2"), ("-2/3", "- 三分之二"),
        ("-2/3", "$-三分之二$"), ("3007/3", "1,002又3分之1"), ("(-3, -2)", "(-三, 负2)"),
    ],
)  # fmt: skip
def test_a_form_is_read_as_gold_and_as_answer(value, words):
    assert score(value, words) == score(words, value) == 1.0
    assert score(value, words, STRICT) == score(words, value, STRICT) == 1.0


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("3:2", "6:4"), ("1:2:3", "2:4:6"), ("1:2", "0.5:1"), ("1:2", "10:20"),
        ("1:2", "-1:-2"), ("10:20", "1:2"),
        ("6", "\\gcd(12, 18)"), ("6", "gcd(12,18)"), ("36", "\\operatorname{lcm}(12, 18)"),
        ("36", "\\text{lcm}(12,18)"), ("5", "\\max\\{3, 5\\}"), ("12", "2\\gcd(6, 12)"),
    ],
)  # fmt: skip
def test_what_is_not_carried_out_counts_in_lenient_only(gold, answer):
    assert score(gold, answer) == score(answer, gold) == 1.0
    assert score(gold, answer, STRICT) == 0.0


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("3:20", "6:40"), ("6:40", "3:20"), ("2:3", "3:2"), ("0:1", "0:2:3"), ("12:00", "1:00"),
        ("2.5", "5/2 (3.5)"), ("3.5", "5/2 (3.5)"), ("2.5", "5/2 (or 3.5)"),
        ("3.5", "5/2 (or 3.5)"),
        ("2", "2 (2)"), ("2.5", "5/2(2.5)"), ("6.25", "5/2 (2.5)"), ("12.5", "a dozen and a half"),
        ("2000000.5", "2 million and a half"), ("3", "three point five"),
        ("3.5", "three point fifty"),
        ("3:30 PM", "上午3点30分"), ("3:30 PM", "午前3時30分"), ("3:30", "3点20分"),
        ("6:45 PM", "6:45 in the morning"), ("7:30 AM", "half past seven in the evening"),
        ("12:00 AM", "12:00 noon"), ("12:00 noon", "12:00 midnight"), ("7 PM", "7 in the morning"),
        ("9 AM", "9 o'clock in the evening"), ("3:30 PM", "3:30 noon"), ("3:50", "ten to four"),
        ("2 PM", "2\\text{ at night}"),
        ("30:00", "45:00"), ("100:00", "90:00"), ("25:00", "1:00"), ("0:75", "0:90"),
        ("5:00", "30:00"), ("30:00", "6:00"), ("1:05:00", "2:10:00"), ("3:4", "3:04"),
        ("3:04", "3:4"), ("2:1", "2:01"), ("0:1", "0:2"), ("2:3", "20:03"),
        ("3:45 AM", "15:45"), ("3:45 AM", "3:45 PM"), ("3 o'clock", "4 PM"), ("0:30", "12:30 PM"),
        ("8", "7 rather than 8"), ("8", "7 (eight)"), ("7", "7 (eight)"), ("4", "사람"),
        ("3:30", "half to four"), ("2:1", "two to one"),
        ("8", "7 (not 8)"), ("8", "7, not 8"), ("7", "7 (not 7)"), ("x>3", "x>3 (not 4)"),
        ("yes", "yes, not always"), ("120", "5!!"), ("720", "3!!"), ("8", "5!!!"),
        ("120", "一百二"), ("102", "一百二"), ("35", "三五"), ("3", "三角形"), ("35", "三万五"),
        ("3/2", "3분의 2"), ("2.5", "2个"), ("3.5", "三个半圆"), ("3/10", "3分の10"),
        ("(5,2)", "10"), ("11", "C(5,2)"), ("5", "C(5,1)"), ("1", "C(4,4)"), ("1", "C(3,0)"),
        ("0", "C(2,5)"), ("10", "D(5,2)"), ("10", "C=(5,2)"), ("C=(5,2)", "10"),
        ("C = (6, 3)", "20"), ("1/0", "0분의 1"),
        ("2/3", "−三分之二"), ("2", "5-三"), ("2", "1又3分之3"), ("3/0", "1又0分之3"),
        ("2", "一又三分之三"), ("30%", "3割引"), ("30%", "三割引"), ("3", "3割"),
        ("3 years", "两年半"),
        ("2", "两年半"), ("2.5", "两月半"), ("10", "x_5C_2"), ("20", "_5C_2!"), ("5", "5 choose 2"),
        ("10", "_5C_2, 3"), ("10", "5 choose 2 choose 1"),
        ("6:45 PM", "6:45 PM in the morning"), ("6:45 pm", "6:45 pm in the morning"),
        ("6:45", "6:45 AM in the evening"), ("6 PM", "6 PM in the morning"),
        ("7", "\\gcd(12, 18)"), ("3", "\\gcd(3)"), ("x", "\\frac{d}{dx} x^2"),
    ],
)  # fmt: skip
def test_what_is_another_value_or_none_is_wrong(gold, answer):
    assert score(gold, answer) in (0.0, None)
    assert score(gold, answer, STRICT) in (0.0, None)
    assert score(gold, answer, STRICT) != 1.0


def test_a_derivative_that_is_not_carried_out_is_no_gold_answer():
    gold = "\\frac{d}{dx} x^2"

    assert score(gold, "2x", STRICT) is None
    assert score(gold, gold, STRICT) == 1.0
    assert score("2x", f"{gold} = 2x", STRICT) == score("2x", "\\frac{dy}{dx} = 2x", STRICT) == 1.0


def test_a_derivative_is_carried_out_in_lenient():
    gold = "\\frac{d}{dx} x^2"

    assert score(gold, "2x") == score("2x", gold) == 1.0
    assert score("x", gold) == score(gold, "x") == 0.0


def in_chinese(number: int) -> str:
    """Write a number below ten thousand as it is read aloud."""
    digits = "零一二三四五六七八九"
    parts = [
        digits[digit] + power if digit else "零"
        for digit, power in zip(map(int, f"{number:04}"), ("千", "百", "十", ""), strict=True)
    ]
    written = "".join(parts).strip("零")
    while "零零" in written:
        written = written.replace("零零", "零")
    return written.removeprefix("一") if written.startswith("一十") else written


@SETTINGS
@given(st.integers(1, 9999))
def test_chinese_numbers_are_read(number):
    assert score(str(number), in_chinese(number), STRICT) == 1.0
    assert score(str(number + 1), in_chinese(number)) == 0.0


@SETTINGS
@given(st.integers(0, 1439), st.integers(1, 1439))
def test_a_time_has_two_names_and_no_other(minute, later):
    def names(at):
        hour, rest = divmod(at % 1440, 60)
        half = "AM" if hour < 12 else "PM"
        return f"{hour}:{rest:02}", f"{(hour + 11) % 12 + 1}:{rest:02} {half}"

    (whole, half), (_, other) = names(minute), names(minute + later)

    assert score(whole, half) == score(half, whole) == score(half, half.lower()) == 1.0
    assert score(half, other) == score(other, half) == 0.0


@SETTINGS
@given(st.integers(1, 99), st.integers(1, 9), st.integers(2, 9))
def test_a_ratio_may_be_multiplied(left, right, by):
    gold, answer = f"{left}:{right}", f"{left * by} : {right * by}"

    assert score(answer, gold) == 1.0
    assert score(gold, answer) == 1.0 or right * by >= 10  # which may be a time of day
    assert score(gold, f"{left * by + 1}:{right * by}") == 0.0


written = st.sampled_from(
    ["a half", "three quarters", "one and a half", "forty-two", "a dozen", "minus two thirds",
     "a hundred and five", "5 apples", "half an hour", "noon", "gcd(12, 18)", "no solution"]
)  # fmt: skip


changes = [str.upper, str.title, str.capitalize, lambda text: text.replace(" ", "  ")]


@SETTINGS
@given(written, st.sampled_from(changes))
def test_case_and_spaces_of_words_change_nothing(gold, change):
    assert score(gold, change(gold), STRICT) == score(change(gold), gold, STRICT) == 1.0


units = st.sampled_from(["cm", "kg", "m/s", "km", "cm^2", "mL", "mph"])
forms = [r"{} {}", r"{}{}", r"{}\text{{ {}}}", r"{}\,\text{{{}}}", r"{}~\mathrm{{{}}}"]


@SETTINGS
@given(st.integers(2, 999), units, st.sampled_from(forms), st.sampled_from(forms))
def test_a_unit_may_be_set_in_any_way(value, unit, form, other):
    assert score(form.format(value, unit), other.format(value, unit), STRICT) == 1.0
