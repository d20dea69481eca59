"""Benchmark templates: both row forms, and the faults of the reference that must not return."""

import pytest

from rlpeft.errors import DataError
from rlpeft.recipe.run import TaskConfig
from rlpeft.tasks import load_task
from rlpeft.tasks.benchmarks import (
    aqua,
    arc,
    gsm8k,
    humaneval,
    math500,
    mbpp,
    mbpp_splits,
    word_problem,
)
from rlpeft.tasks.rows import chat_prompt, instruction_prompt


@pytest.mark.parametrize(
    ("solution", "gold"),
    [("2+2=4\n#### 4", "4"), ("#### 70,000", "70,000"), ("a #### 3 b\n#### -5 ", "-5")],
)
def test_gsm8k_keeps_separators_and_signs_of_the_last_marked_number(solution, gold):
    item = gsm8k({"question": "q", "answer": solution})
    assert item.answer == gold
    assert item.columns == {"solution": solution}


def test_gsm8k_without_the_marker_is_refused():
    with pytest.raises(DataError, match="ends in '#### number', got 'four'"):
        gsm8k({"question": "q", "answer": "four"})


def test_arc_numeric_keys_become_letters():
    row = {
        "question": "Which?",
        "choices": {"text": ["iron", "wood", "gold"], "label": ["1", "2", "3"]},
        "answerKey": "3",
    }
    item = arc(row)
    assert item.answer == "C"
    assert item.user == "Which?\nOptions:\nA. iron\nB. wood\nC. gold"


def test_arc_flat_rows_become_the_same_form():
    row = {
        "question": "Please choose the correct answer to the question: Which?\n\nAnswer1: iron "
        "Answer2: wood Answer3: gold\n\nAnswer format: answer1/answer2/answer3",
        "answer": "answer2",
    }
    item = arc(row)
    assert item.user == "Which?\nOptions:\nA. iron\nB. wood\nC. gold"
    assert item.answer == "B"


@pytest.mark.parametrize("answer", ["answer4", "answer0", "B", "answer٣"])
def test_arc_answers_outside_the_options_are_refused(answer):
    with pytest.raises(DataError, match="'answer1' to 'answer3'"):
        arc({"question": "Q\n\nAnswer1: a Answer2: b Answer3: c", "answer": answer})
    with pytest.raises(DataError, match="answerKey among its labels"):
        arc({"question": "Q", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "B"})


def test_word_problems_give_whole_numbers_without_a_fraction():
    assert word_problem({"question": "q", "answer": "8.0"}).answer == "8"
    assert word_problem({"question": "q", "answer": 1.25}).answer == "1.25"
    hub = word_problem({"Body": "Ann has 2.", "Question": "How many?", "Answer": "20.0"})
    assert (hub.user, hub.answer) == ("Ann has 2. How many?", "20")


def test_aqua_shows_options_that_stand_apart():
    item = aqua({"question": "How far?", "options": ["A)21", "B)22"], "correct": "B"})
    assert item.user == "How far? Answer Choices: (A)21 (B)22"
    assert item.answer == "B"


def test_mbpp_shows_one_assertion_and_scores_by_all_after_the_set_up():
    row = {
        "text": "Write f.",
        "test_list": ["assert f(1) == 1", "assert f(2) == 2"],
        "test_setup_code": "import math",
    }
    item = mbpp(row)
    assert item.user.startswith("Write f. Your code should satisfy")
    assert "f(2)" not in item.user
    assert item.answer == "import math\nassert f(1) == 1\nassert f(2) == 2"


def test_mbpp_runs_the_imports_of_a_sanitized_row():
    row = {"prompt": "Write f.", "test_list": ["assert f(1) == math.pi"]}

    item = mbpp(row | {"test_imports": ["import math"]})

    assert item.answer == "import math\nassert f(1) == math.pi"


def test_mbpp_is_split_by_its_published_numbering():
    tables = mbpp_splits([{"task_id": number} for number in range(1, 975)])
    assert [len(tables[split]) for split in ("train", "validation", "test")] == [374, 90, 500]
    assert tables["test"][0] == {"task_id": 11}


def test_humaneval_goes_on_from_the_signature():
    row = {"prompt": "def f(x):\n", "test": "def check(c): ...", "entry_point": "f"}
    turns = chat_prompt(humaneval(row))
    assert turns[-1] == {"role": "assistant", "content": "```python\ndef f(x):\n"}
    assert humaneval(row).answer.endswith("check(f)\n")


def test_the_plain_form_ends_where_the_model_goes_on():
    item = arc({"question": "Q", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "A"})
    text = instruction_prompt(item)
    assert text.startswith(f"{item.system}\n\n@@ Instruction:\nQ\nOptions:\nA. a\n\n@@ Response:\n")
    assert text.endswith("Let's think step by step")


def test_math_without_problem_texts_is_refused():
    with pytest.raises(DataError, match="must have a column 'problem'"):
        math500({"answer": "3", "level": 2})


@pytest.mark.parametrize(
    ("name", "file", "splits"),
    [
        ("gsm8k", "", {"train": 7463, "validation": 10, "test": 1319}),
        ("svamp", "", {"validation": 10, "test": 990}),
        ("aqua", "", {"validation": 10, "test": 244}),
        ("arc_easy", "", {"validation": 10, "test": 2376}),
        ("arc_challenge", "", {"validation": 10, "test": 1172}),
        ("mbpp", "mbpp.jsonl", {"train": 374, "validation": 10, "test": 500}),
        ("humaneval", "HumanEval.jsonl.gz", {"validation": 10, "test": 154}),
    ],
)
def test_published_files_load_whole(shared_path, name, file, splits):
    path = str(shared_path / "data" / file)
    task = load_task(TaskConfig(name=name, path=path, num_validation=10, num_test=5000))
    for split, count in splits.items():
        assert len(task.split(split)) == count
        assert all(problem.answer for problem in task.split(split))


def test_overlapping_published_splits_are_parted(shared_path):
    task = load_task(
        TaskConfig(name="mawps", path=str(shared_path / "data"), num_validation=237, num_test=238)
    )
    tests = {problem.prompt[-1]["content"] for problem in task.split("test")}
    train = {problem.prompt[-1]["content"] for problem in task.split("train")}
    assert len(tests) > 200
    assert not tests & train
