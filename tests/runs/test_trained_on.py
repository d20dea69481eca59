"""A problem is known again by what it says, and no two problems are taken for one."""

import pytest

from rlpeft.errors import CheckpointError
from rlpeft.runs.trained_on import Trained, keep_trained, marks_of, read_trained, trained_on
from rlpeft.tasks.tiny import tiny_task
from rlpeft.types import Problem


def of_row(prompt, question, answer):
    return Problem("t/train/0", prompt, answer, {"question": question})


def are_one(one, other):
    return bool(marks_of(one) & marks_of(other))


@pytest.mark.parametrize(
    "prompt",
    [
        "How many  ducks\n are there?",
        ({"role": "user", "content": "How many ducks are there?"},),
        (
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How many ducks are there?"},
            {"role": "assistant", "content": "There are"},
        ),
        "Q: How many ducks are there?\nA:",
    ],
)
def test_a_problem_is_known_again_in_another_form(prompt):
    first = of_row("How many ducks are there?", "How many ducks are there?", "7")
    assert are_one(first, of_row(prompt, "How many ducks are there?", "7"))


def test_a_problem_whose_gold_answer_was_corrected_is_known_again():
    assert are_one(of_row("3+4=", "3+4", "8"), of_row("3+4=", "3+4", "7"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (of_row("3+4=", "3", "7"), of_row("3+5=", "3", "7")),
        (of_row("sort 3714", "3714", "7431"), of_row("swap 3714", "3714", "1437")),
        (of_row("Is ab palindromic?", "ab", "no"), of_row("Is AB palindromic?", "AB", "no")),
        (Problem("a", "3+4=", "7"), Problem("b", "2+5=", "7")),
    ],
)
def test_other_problems_with_something_in_common_are_others(one, other):
    assert not are_one(one, other)


def test_no_two_problems_of_a_generated_task_are_taken_for_one():
    task = tiny_task("tiny/ends", num_validation=200, num_test=200)
    train, test = (frozenset().union(*map(marks_of, task.split(s))) for s in ("train", "test"))
    assert len(test) == 200
    assert not train & test


def test_what_is_kept_is_read_again_with_what_came_before(tmp_path):
    problems = [of_row("3+4=", "3+4", "7"), Problem("b", "2+5=", "7")]
    former = Trained(frozenset({"ff"}), frozenset({"ee"}), ("older",))
    chosen_by = [Problem("c", "4+4=", "8")]
    found = trained_on(problems, chosen_by, {"a": former, "lost": None})
    keep_trained(tmp_path, found)
    assert read_trained(tmp_path) == found
    assert found.marks == {"ff"} | marks_of(problems[0]) | marks_of(problems[1])
    assert found.chosen == {"ee"} | marks_of(chosen_by[0])
    assert found.untold == ("lost", "older")


@pytest.mark.parametrize(
    "text", ["{}", '{"train": [1], "validation": [], "untold": []}', '{"train": [], "untold": []}']
)
def test_a_file_of_something_else_is_one_line(tmp_path, text):
    (tmp_path / "trained_on.json").write_text(text)
    with pytest.raises(CheckpointError, match="must hold the marks of problems"):
        read_trained(tmp_path)
