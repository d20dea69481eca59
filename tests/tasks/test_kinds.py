"""The classification task: neutral questions, balanced labels, nothing from a test split."""

from collections import Counter

import pytest

from rlpeft.errors import ConfigError, DataError
from rlpeft.recipe.run import TaskConfig
from rlpeft.tasks.catalogue import load_task
from rlpeft.tasks.kinds import ask_kind

SMALL = {"num_validation": 20, "num_test": 20}


def kind(num_train=90, others=("tiny/copy",), tasks=("tiny/swap", "tiny/sort"), **counts):
    options = {
        "tasks": [{"name": name, **SMALL} for name in tasks],
        "others": [{"name": name, **SMALL} for name in others],
        "num_train": num_train,
    }
    sizes = {"num_validation": 30, "num_test": 30} | counts
    return load_task(TaskConfig(name="kind", options=options, **sizes))


def test_labels_are_balanced_in_every_split():
    task = kind()
    for split, size in (("train", 90), ("validation", 30), ("test", 30)):
        counts = Counter(problem.answer for problem in task.split(split))
        assert counts == {"swap": size // 3, "sort": size // 3, "others": size // 3}


@pytest.mark.slow
def test_every_question_comes_from_a_training_split_and_stands_once():
    task = kind()
    training = {
        problem.id
        for name in ("swap", "sort", "copy")
        for problem in load_task(TaskConfig(name=f"tiny/{name}", **SMALL)).split("train")
    }
    ids = [p.id for split in ("train", "validation", "test") for p in task.split(split)]
    assert len(set(ids)) == len(ids)
    assert {name.split("/", 2)[2] for name in ids} <= training


def test_the_question_shows_the_last_users_turn_and_no_task_template():
    turns = (
        {"role": "system", "content": "You are a coder."},
        {"role": "user", "content": "Sort a list."},
        {"role": "assistant", "content": "```python"},
    )
    system, user = ask_kind(turns, ["code", "others"])
    assert "\\boxed{code}, \\boxed{others}" in system["content"]
    assert user["content"].endswith("Sort a list.")
    assert "coder" not in system["content"] + user["content"]
    assert "python" not in user["content"]


def test_the_same_seed_gives_the_same_task():
    assert kind().fingerprint() == kind().fingerprint()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tasks": ("tiny/swap", "tiny/swap")}, ConfigError, "different labels"),
        ({"tasks": ("tiny/swap",), "others": ()}, ConfigError, "two labels"),
        ({"num_train": 90_000}, DataError, "more training questions of 'swap'"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        kind(**options)


def test_the_papers_grid_can_be_told_apart_from_local_files(shared_path):
    files = {"gsm8k": "gsm8k_train", "mbpp": "mbpp", "arc_easy": "arc_easy_train"}
    small = {"num_validation": 10, "num_test": 10}

    def section(name, stem):
        return {"name": name, "path": str(shared_path / "data" / f"{stem}.jsonl"), **small}

    options = {
        "tasks": [section(name, stem) for name, stem in files.items()],
        "others": [section("mawps", "mawps_train")],
        "num_train": 716,
    }
    config = TaskConfig(name="kind", options=options, num_validation=240, num_test=240)
    task = load_task(config)
    counts = Counter(problem.answer for problem in task.split("train"))
    assert counts == dict.fromkeys([*files, "others"], 179)
