import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import RewardError, VerdictKind, verify
from rewards.text.choice import verify_choice


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("The answer is B, not C.", "B"),
        ("\\boxed{A}. Wait, that overlooks a case. After all \\boxed{B}", "B"),
        ("B", "B"),
        ("(B)", "B"),
        ("B) the sun", "B"),
        ("Some thought.\n\nB. the sun", "B"),
        ("\\boxed{\\text{(B)}}", "B"),
        ("\\boxed{B. photosynthesis}", "B"),
        ("The answer is $\\text{B}$", "B"),
        ("**Final Answer**: **D**", "D"),
        ("Option (C) is correct.", "C"),
        ("A is the correct answer", "A"),
        ("The correct choice is: (E) 1023.65", "E"),
        ("I choose option B because it is warm", "B"),
        ("answer is (b)", "B"),
        ("Answer: b", "B"),
        ("<think>Answer: C</think> Answer: B", "B"),
        ("<answer>B</answer>", "B"),
        ("#### B", "B"),
        ("So the answer is answer2.", "answer2"),
        ("Answer2", "answer2"),
        ("the correct ending is ending3", "ending3"),
        ("Answer: 3", "3"),
        ("The answer is (3).", "3"),
    ],
)
def test_a_stated_choice_is_found(completion, gold):
    assert verify_choice(completion, gold).score == 1.0


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("Answer: A or B", "A"),
        ("Answer: A, B, C, D", "B"),
        ("A, B, C, D", "B"),
        ("Answer: A\nAnswer: B\nAnswer: C\nAnswer: D", "D"),
        ("\\boxed{A}, \\boxed{B}", "B"),
        ("\\boxed{A or B}", "A"),
        ("\\boxed{B} Answer: C", "B"),
        ("The answer is not B", "B"),
        ("I think the answer is A good idea", "A"),
        ("A good way to see it is by symmetry.", "A"),
        ("\\boxed{C = 3}", "C"),
        ("\\boxed{}", "B"),
        ("<think>Answer: B", "B"),
        ("Answer format: answer1/answer2/answer3/answer4", "answer2"),
        ("Answer: 3.5", "3"),
        ("", "B"),
    ],
)
def test_no_or_several_choices_get_nothing(completion, gold):
    verdict = verify_choice(completion, gold)

    assert verdict.score == 0.0
    assert verdict.kind is VerdictKind.UNPARSABLE


def test_another_choice_is_wrong():
    verdict = verify_choice("Answer: C", "B")

    assert (verdict.kind, verdict.extracted) == (VerdictKind.WRONG, "C")


@pytest.mark.parametrize("gold", ["", "É", "the second one", "BB", "answer", "7.5"])
def test_a_gold_answer_that_is_no_key_is_unscorable(gold):
    assert verify_choice("Answer: B", gold).kind is VerdictKind.UNSCORABLE


def test_a_gold_answer_beyond_e_extends_the_letters():
    assert verify_choice("The answer is F.", "F").score == 1.0
    assert verify_choice("Answer: B", "F").kind is VerdictKind.WRONG
    assert verify_choice("Answer: F", "F", letters="ABCD").kind is VerdictKind.UNSCORABLE


def test_more_letters_are_an_option():
    assert verify_choice("Answer: G", "G", letters="ABCDEFGHIJ").score == 1.0
    with pytest.raises(RewardError, match="letters"):
        verify_choice("B", "B", letters="abc")


def test_the_shared_cases_come_out_right(shared_path):
    lines = (shared_path / "verifier_cases.jsonl").read_text().splitlines()
    cases = [case for case in map(json.loads, lines) if case["tag"] == "mcq"]

    wrong = [
        case["id"]
        for case in cases
        if (verify(case["prediction"], case["gold"], kind="choice").score == 1.0) != case["expect"]
    ]

    assert len(cases) >= 12
    assert wrong == []


@pytest.mark.parametrize(
    ("file", "form"),
    [
        ("aqua_test", "Step by step. The answer is ({})."),
        ("arc_challenge_test", "the correct answer is {}"),
        ("arc_easy_test", "{}"),
    ],
)
def test_every_gold_answer_of_a_benchmark_agrees_with_itself(shared_path, file, form):
    lines = (shared_path / "data" / f"{file}.jsonl").read_text().splitlines()
    golds = [json.loads(line)["answer"] for line in lines]

    assert [g for g in golds if verify_choice(form.format(g), g).score != 1.0] == []


@given(st.text(alphabet="ABCDEabe ()\\boxed{}$*.,:\nanswer is123", max_size=300))
def test_any_text_gets_a_verdict_and_at_most_one_key_is_right(text):
    right = [key for key in "ABCDE" if verify_choice(text, key).score == 1.0]

    assert len(right) <= 1


@given(
    st.sampled_from("ABCDE"),
    st.sampled_from(
        ["The answer is {}.", "\\boxed{{{}}}", "**Answer: {}**", "({})", "Answer:  {}\n"]
    ),
)
def test_a_choice_matches_its_own_key_and_no_other(key, form):
    matched = [k for k in "ABCDE" if verify_choice(form.format(key), k).score == 1.0]

    assert matched == [key]


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", ["Answer: ", "\\boxed{", "A, ", "(", "answer is ", "so A ", "A\n"]
)
@pytest.mark.parametrize("gold", ["B", "answer2", "3"])
def test_hostile_repetition_is_answered_at_once(piece, gold, ends):
    with ends():
        assert verify_choice(piece * 100_000, gold).score == 0.0


@pytest.mark.parametrize(
    "completion",
    [
        "A) yes B) no\nAnswer: B) no",
        "(A) yes (B) no\nAnswer: (B) no",
        "A) yes B) no\nFinal answer: B) no",
        "A) cat\nB) dog\nAnswer: B) dog",
        "Answer: B) no\nA) yes",
    ],
)
def test_a_stated_option_with_its_text_goes_before_the_list_of_options(completion):
    assert verify_choice(completion, "B").score == 1.0
    assert verify_choice(completion, "A").score == 0.0


@pytest.mark.parametrize(
    "completion",
    ["A) yes B) no", "Answer: A) yes or B) no", "Is the answer A) yes?", "Answer: A) yes is wrong"],
)
def test_an_option_with_its_text_is_no_choice_among_others_or_in_doubt(completion):
    assert verify_choice(completion, "A").score == 0.0
