import pytest

from rewards.math.find.extract import extract


def claims(completion: str, *, max_distinct_boxes: int = 6) -> tuple[str, ...]:
    return extract(completion, max_distinct_boxes=max_distinct_boxes).claims


@pytest.mark.parametrize(
    ("completion", "claim"),
    [
        (r"So \boxed{7}.", "7"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\fbox{7} is what we get", "7"),
        (r"First \boxed{5}. That is wrong, after correcting it we get \boxed{7}.", "7"),
        (r"\boxed{\boxed{7}}", r"\boxed{7}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"It is either \boxed{4} or \boxed{5}.", "4, 5"),
        (r"\boxed{1} \boxed{2} \boxed{3}", "1, 2, 3"),
        (r"$x=\boxed{2}$ and $x=\boxed{3}$", "2, 3"),
        (r"open \boxed{ first, then \boxed{7} closed", "7"),
        (r"\boxed 7", "7"),
    ],
)
def test_the_last_boxes_are_the_answer(completion, claim):
    assert claims(completion) == (claim,)


@pytest.mark.parametrize(
    "completion",
    [
        r"The value is 7. \boxed{}",
        r"\boxed{7} and then \boxed{ }",
        r"\boxed{7} and then \boxed{8",
        r"I will mark it with \boxed",
        "<think>it is 7",
        r"<think>\boxed{7}",
        r"<think>\boxed{7}</think> That is all I wanted to say.",
        "The answer is not 7.",
        "The answer is 7, but maybe it is 8.",
        "We need to simplify $(x+1)^2-x^2$.",
        "Let us find the multiple of 8 and 24. I cannot finish this.",
        "17 is given in the question, and so is 23. Nothing else can be said.",
        "What is 7?",
        "0 1 2 3 4 5 6 7 8 9",
        "4.000 lorem 4 ipsum 4 dolor",
        "",
        " \n ",
    ],
)
def test_a_completion_without_a_final_answer_has_no_claim(completion):
    assert claims(completion) == ()


@pytest.mark.parametrize(
    ("completion", "claim"),
    [
        ("After some algebra, the answer is 42.", "42"),
        ("Final Answer: The final answer is $42$. I hope it is correct.", "$42$"),
        ("**Answer:** 42", "42"),
        ("Answer: \\(42\\)", "\\(42\\)"),
        ("The answer is\n\n42", "42"),
        ("The answer is 72, in total, so that is what she earns.", "72"),
        ("The answer is 41. Wait, that is wrong. The answer is 42.", "42"),
        ("答案是 42。", "42"),
        ("La respuesta final es 42.", "42"),
        ("The correct option is (B).", "(B)"),
        ("The final answer is €45.", "€45"),
        ("The answer is $1,000.99", "$1,000.99"),
        ("#### 1,080", "1,080"),
        ("It is <<48/2=24>>24 in May.\n#### 72", "72"),
        ("The answer is <<8=8>>8.", "8"),
        ("The answer is 5.\n#### 8", "8"),
        ("Therefore the probability equals $\\frac{2}{3}$.", "$\\frac{2}{3}$"),
        ("So the total weight is 12 kg.", "12 kg"),
        ("The solutions are $2$ and $3$.", "$2$ and $3$"),
        ("so 6*7 = 42", "6*7 = 42"),
        ("Thus 42 is the answer.", "42"),
        ("We add.\n\n**42**", "42"),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "\\left( 3, \\frac{\\pi}{2} \\right)"),
        ("Evelyn", "Evelyn"),
        ("<answer>42</answer>", "42"),
        ("<think>41</think><answer>42", "42"),
        ("<think>\\boxed{41}</think> The answer is 42.", "42"),
    ],
)
def test_stated_answers_are_found(completion, claim):
    assert claims(completion) == (claim,)


def test_a_second_final_answer_after_the_box_is_a_second_claim():
    assert claims("\\boxed{7}\n\nTherefore the final answer is 8.") == ("7", "8")
    assert claims("The result is \\boxed{15}. (Check: 15 + 15 = 30.)") == ("15",)


def test_a_completion_that_boxes_every_number_has_no_claim():
    steps = "".join(f"Let us box \\boxed{{{k}}} because it came up here. " for k in range(8))
    assert claims(steps) == ()
    assert claims(steps, max_distinct_boxes=64) == ("7",)
    assert claims("Let us say \\boxed{7} once more in this place. " * 20) == ("7",)


@pytest.mark.parametrize(
    "unit",
    ["\\boxed{", "{", "\\", "$ ", "\\[ ", "the answer is $", "<think></think>", "#### 7\n", "7. "],
)
def test_extraction_from_much_of_a_kind_ends(unit, ends):
    with ends():
        claims(unit * (400_000 // len(unit)))
