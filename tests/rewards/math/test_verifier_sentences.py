"""Sentences, boxes and JSON that state an answer, take one back, or put a unit behind a chain."""

import pytest

from rewards import verify
from rewards.verdict import VerdictKind

POLICIES = ("strict", "lenient")


def scores(completion, gold):
    return [verify(completion, gold, policy=policy).score for policy in POLICIES]


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("So the total is 3 * 4 = 12 dollars.", "12"),
        ("Hence the total cost is $3 \\times 4 = 12$ dollars.", "12"),
        ("The answer is $5+7=12$ apples.", "12"),
        ("The total cost is 3 * $4 = $12.", "12"),
        ("\\boxed{x = 5 + 5 = 10 \\text{ cm}}", "10"),
        ("So the total is 5 + 7 = 12 apples.", "12 apples"),
    ],
)
def test_the_unit_of_a_chain_may_stand_behind_its_last_term(completion, gold):
    assert scores(completion, gold) == [1.0, 1.0]


@pytest.mark.parametrize("completion", ["It is 3 * 4 = 13 dollars.", "\\boxed{3+2=6\\text{ cm}}"])
def test_a_chain_that_does_not_hold_is_no_answer_with_a_unit_either(completion):
    assert {verify(completion, gold).score for gold in ("12", "13", "5", "6")} == {0.0}


@pytest.mark.parametrize(
    "after",
    [
        "Actually, I made a mistake: it should be 14.",
        "Wait, that's wrong. It should be 14.",
        "Actually, it should be 14.",
        "Correction: it must be 14",
        "Hmm, this is not correct, it's 14.",
    ],
)
def test_a_box_that_a_later_sentence_takes_back_is_no_answer(after):
    assert scores(f"So we get \\boxed{{12}}. {after}", "12") == [0.0, 0.0]
    assert scores(f"So we get \\boxed{{14}}. {after}", "14") == [1.0, 1.0]


@pytest.mark.parametrize(
    "after", ["Let me verify: 3*4 should be 12.", "Check: 24/12 is 2, as it should be."]
)
def test_a_check_behind_a_box_takes_nothing_back(after):
    assert scores(f"\\boxed{{12}}. {after}", "12") == [1.0, 1.0]


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("The answer is not 12, it is 13.", "13"),
        ("The answer is not 12 but 13.", "13"),
        ("\\boxed{not 12 but 13}", "13"),
        ("The answer is no longer 12; it is 13.", "13"),
        ("答案不是12，而是13。", "13"),
        ("The answer is \\boxed{5}, not \\boxed{6}.", "5"),
        ("The answer is $\\boxed{5}$ rather than $\\boxed{6}$.", "5"),
        ("Prime or not? \\boxed{5}", "5"),
        ("The answer is 9. There is no way that the answer is 8.", "9"),
        ("I don't think there is any doubt that the answer is 8.", "8"),
        ("I don't believe this is hard. The answer is 8.", "8"),
        ("Therefore, Natalia sold **72** clips altogether in April and May.", "72"),
        ("So she walked **5** km to school.", "5 km"),
        ("So she makes 9 * $2 = $18 every day at the farmer's market.", "18"),
        ("Therefore, Josh made a profit of $70,000.", "70000"),
        ("```\n7\n```", "7"),
        ('{"answer": 7}', "7"),
        ('```json\n{"reasoning": "2+5", "answer": "7"}\n```', "7"),
        ('{"answer": "\\\\frac{1}{2}"}', "0.5"),
        ('{"final_answer": "\\frac{1}{2}"}', "0.5"),
        ("\\boxed{\\text{The number is }17}", "17"),
        ("\\boxed{\\text{The answer is } \\frac{1}{2}}", "1/2"),
    ],
)
def test_an_answer_in_a_sentence_or_an_object_is_found(completion, gold):
    assert scores(completion, gold) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("The answer is not 12, it is 13.", "12"),
        ("The answer is not 5, it is not 7.", "7"),
        ("There is no way that the answer is 8.", "8"),
        ("There is no way it is 8.", "8"),
        ("There is no way that the answer is \\boxed{8}.", "8"),
        ("I don't think the answer is 8.", "8"),
        ("It is false that the answer is 8.", "8"),
        ("I doubt that the answer is 8.", "8"),
        ("It is not \\boxed{8}.", "8"),
        ("The answer is \\boxed{5}, not \\boxed{6}.", "6"),
        ("答案不是12，而是13。", "12"),
        ("The answer is no longer 12; it is 13.", "12"),
        ("\\boxed{not 12 but 13}", "12"),
        ("\\boxed{not only 12 but 13}", "13"),
        ("So she walked **5** km to school.", "5 m"),
        ("Therefore, she sold **72** clips, not **70**.", "72"),
        ("Is it **72**?", "72"),
        ("Maybe she sold **72** clips.", "72"),
        ("The answer is 7 at least.", "7"),
        ("```python\nx = 7\n```", "7"),
        ('{"answer": 7, "answer": 8}', "7"),
        ('{"answer": 7} The answer is 8', "7"),
        ('{"answer": [7, 8]}', "7"),
        ('{"answer": "7 or 8"}', "7"),
        ("\\boxed{\\text{The number is not }17}", "17"),
        ("\\boxed{\\text{Half of it is }17}", "17"),
    ],
)
def test_what_is_denied_hedged_or_several_is_not(completion, gold):
    assert scores(completion, gold) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [
        ("17\\,\\Omega", "17", 1.0),
        ("17 Ω", "17 \\text{ ohms}", 1.0),
        ("17~\\mu\\text{m}", "17", 1.0),
        ("17~\\mu\\text{m}", "17 \\text{ mm}", 0.0),
        ("17\\Omega", "17", 0.0),
        ("0.5\\mu", "0.5", 0.0),
    ],
)
def test_greek_letters_that_are_units_are_no_factors(answer, gold, score):
    assert scores(f"\\boxed{{{answer}}}", gold) == [score, score]


ROOTS = "\\frac{-b\\pm\\sqrt{b^2-4ac}}{2a}"


def test_both_roots_are_the_same_with_and_without_their_name():
    assert scores(f"\\boxed{{x={ROOTS}}}", ROOTS) == [1.0, 1.0]
    assert scores(f"\\boxed{{{ROOTS}}}", f"x={ROOTS}") == [1.0, 1.0]
    assert scores(f"\\boxed{{y={ROOTS}}}", f"x={ROOTS}") == [0.0, 0.0]
    assert verify("\\boxed{x=a+\\sqrt b}", "a\\pm\\sqrt b").kind is VerdictKind.WRONG
