"""A problem is known again by what it says, and no two problems are taken for one."""

import json
import unicodedata

import pytest

from rlpeft.errors import CheckpointError, RlpeftError
from rlpeft.runs.trained_on import (
    Trained,
    keep_trained,
    keep_trained_block,
    marks_of,
    read_trained,
    trained_on,
)
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


@pytest.mark.parametrize(
    "asked",
    [
        "What does the café cost?",
        unicodedata.normalize("NFD", "What does the café cost?"),
        "What does the ca\u200bfé\ufeff co\u00adst?",
        "What does the cafe\u200b\u0301 cost?",
        "What \u200b does the \x07café cost?",
        "Ｗｈａｔ ｄｏｅｓ ｔｈｅ　ｃａｆé ｃｏｓｔ？",
    ],
)
def test_a_problem_is_known_again_however_unicode_writes_it(tmp_path, asked):
    plain = of_row("What does the café cost?", "What does the café cost?", "７")
    keep_trained(tmp_path, trained_on([plain], [], {}))
    assert read_trained(tmp_path).marks & marks_of(of_row(asked, asked, "7"))
    # Under another template by the question alone, which is a column of its row.
    assert read_trained(tmp_path).marks & marks_of(of_row(f"Q: {asked} A:", asked, "7"))


def test_marks_of_before_texts_were_folded_are_known_again_and_told_apart(tmp_path):
    """Of "ａｂ ｃ" and "ab c", as they were digested then."""
    former = {"train": ["95ec1d8d7fc47ed6", "8087cc4086b5fc2b"], "validation": [], "untold": []}
    (tmp_path / "trained_on.json").write_text(json.dumps(former))
    found = read_trained(tmp_path)
    assert not found.folded
    assert found.marks & marks_of(Problem("a", "ａｂ ｃ", "7"))
    assert found.marks & marks_of(Problem("a", "ａ\u200bｂ c", "7"))
    heir = trained_on([Problem("b", "2+5=", "7")], [], {"a": found})
    keep_trained(tmp_path / "heir", heir)
    assert not read_trained(tmp_path / "heir").folded


def test_a_problem_whose_gold_answer_was_corrected_is_known_again():
    assert are_one(of_row("3+4=", "3+4", "8"), of_row("3+4=", "3+4", "7"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (of_row("3+4=", "3", "7"), of_row("3+5=", "3", "7")),
        (of_row("sort 3714", "3714", "7431"), of_row("swap 3714", "3714", "1437")),
        (of_row("Is ab palindromic?", "ab", "no"), of_row("Is AB palindromic?", "AB", "no")),
        (Problem("a", "3+4=", "7"), Problem("b", "2+5=", "7")),
        (Problem("a", "What is 12²?", "144"), Problem("b", "What is 122?", "122")),
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
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"train": [1], "validation": [], "untold": []}',
        '{"train": [], "untold": []}',
        '{"train": [], "validation": [], "untold": [], "folded": 1}',
    ],
)
def test_a_damaged_file_says_what_it_is_and_what_goes_on_without_it(tmp_path, text):
    (tmp_path / "trained_on.json").write_text(text)
    with pytest.raises(RlpeftError, match=r"keeps marks of the problems.* or remove it, and"):
        read_trained(tmp_path)


def test_what_is_read_later_is_known_again_beside_what_was_there_at_the_start(tmp_path):
    early, late, other = (Problem(f"{n}", f"{n}71@=", f"{n}") for n in range(3))
    keep_trained(tmp_path, trained_on([early], [], {}))
    for _ in range(2):  # as after a kill
        keep_trained_block(tmp_path, "rows-000001", [late])
    found = read_trained(tmp_path).marks
    assert [bool(marks_of(p) & found) for p in (early, late, other)] == [True, True, False]
    (tmp_path / "trained_on" / "rows-000001.json").write_text('{"train": 7}')
    with pytest.raises(CheckpointError, match=r"rows-000001\.json.* must hold the marks"):
        read_trained(tmp_path)
