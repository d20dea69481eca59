"""Gold answers that a prompt gives away, and those that stand in it by chance."""

import pytest

from rlpeft.doctor.leak import check_leak
from rlpeft.tasks.base import ProblemSet
from rlpeft.types import Problem

OPTIONS = "A. iron\nB. lead\nC. tin\nD. zinc"


def look(prompts, answers):
    problems = tuple(
        Problem(str(at), prompt, answer)
        for at, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    )
    return list(check_leak(ProblemSet("given", {"train": problems})))


NUMBERS = [str(number) for number in range(100, 120)]
LETTERS = list("ABCDDACBBA" * 2)


@pytest.mark.parametrize(
    ("prompts", "answers", "status"),
    [
        ([f"What is {n} + 0? \\boxed{{{n}}}" for n in NUMBERS], NUMBERS, "warn"),
        ([({"role": "user", "content": f"Say {n}"},) for n in NUMBERS], NUMBERS, "warn"),
        ([f"Which is it?\n{OPTIONS}\nAnswer: {x}" for x in LETTERS], LETTERS, "warn"),
        ([f"Which is it?\n{OPTIONS}" for _ in LETTERS], LETTERS, "ok"),
        # 100 is no word of 1000, and a small number stands in many prompts.
        ([f"Half of {2 * int(n)} and {n}0" for n in NUMBERS], NUMBERS, "ok"),
        ([f"{n} apples, {n + 1} pears, 1 and 2 plums" for n in range(20)], ["1", "2"] * 10, "ok"),
    ],
)
def test_a_gold_that_stands_in_its_own_prompt_more_than_others_do_is_told(prompts, answers, status):
    (check,) = look(prompts, answers)
    assert check.status == status


def test_a_task_without_gold_answers_has_nothing_to_look_for():
    assert look(["Write a poem."], [""]) == []
