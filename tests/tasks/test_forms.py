"""Rows as verl and TRL have them, taken as they are."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlpeft.errors import ConfigError, DataError
from rlpeft.recipe.run import TaskConfig
from rlpeft.tasks.catalogue import load_task


def asked(number):
    return [{"role": "user", "content": f"{number}+1="}]


VERL = [
    {
        "data_source": "sums",
        "prompt": asked(n),
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": str(n + 1)},
        "extra_info": {"index": n, "question": f"{n}+1="},
    }
    for n in range(12)
]
TRL = [{"prompt": asked(n), "solution": str(n + 1)} for n in range(12)]
SPOKEN = [
    {"prompt": asked(n), "completion": [{"role": "assistant", "content": str(n + 1)}]}
    for n in range(12)
]
TEXT = [{"prompt": f"{n}+1=", "completion": str(n + 1)} for n in range(12)]
MESSAGES = [{"messages": [*row["prompt"], *row["completion"]]} for row in SPOKEN]


def task_of(folder, rows, ending, **options):
    path = folder / f"rows{ending}"
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = TaskConfig(name="jsonl", path=str(path), num_validation=2, num_test=2, options=options)
    return load_task(config)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("rows", "options"),
    [(VERL, {}), (TRL, {}), (SPOKEN, {}), (MESSAGES, {"last_turn": "answer"})],
    ids=["verl", "TRL", "TRL supervised", "messages"],
)
def test_conversational_rows_work_as_they_are(tmp_path, rows, options, ending):
    for problem in task_of(tmp_path, rows, ending, **options).split("train"):
        [turn] = problem.prompt
        assert set(turn) == {"role", "content"}
        assert turn["role"] == "user"
        assert int(problem.answer) == int(turn["content"].removesuffix("+1=")) + 1


def test_rows_of_text_with_completions_work_as_they_are(tmp_path):
    for problem in task_of(tmp_path, TEXT, ".jsonl").split("train"):
        assert int(problem.answer) == int(problem.prompt.removesuffix("+1=")) + 1


def test_rewards_get_the_columns_of_verl_as_they_are(tmp_path):
    problem = task_of(tmp_path, VERL, ".parquet").split("train")[0]
    assert problem.columns["data_source"] == "sums"
    assert problem.columns["reward_model"] == {"style": "rule", "ground_truth": problem.answer}


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "extra_info.question", "answer": "reward_model.ground_truth"},
        {"template": "{extra_info.question}"},
    ],
)
def test_columns_are_named_by_dotted_paths(tmp_path, options):
    for problem in task_of(tmp_path, VERL, ".jsonl", **options).split("train"):
        assert int(problem.answer) == int(problem.prompt.removesuffix("+1=")) + 1


@pytest.mark.parametrize("template", ["{reward_model}", "{reward_model.ground_truth}?"])
def test_a_prompt_that_holds_the_gold_answer_by_its_path_is_refused(tmp_path, template):
    with pytest.raises(ConfigError, match=r"must not hold the gold answer.*'reward_model"):
        task_of(tmp_path, VERL, ".jsonl", template=template)


def test_a_path_that_leads_nowhere_is_told_with_its_row(tmp_path):
    rows = [*VERL[:5], {**VERL[5], "reward_model": {"style": "rule"}}, *VERL[6:]]
    with pytest.raises(DataError, match=r"rows\.jsonl', train row 6: .*'reward_model\.ground_tr"):
        task_of(tmp_path, rows, ".jsonl")


def test_which_column_is_the_gold_answer_is_not_settled_row_by_row(tmp_path):
    rows = [{"prompt": "a", "answer": "1", "solution": "one"}, {"prompt": "b", "solution": "two"}]
    with pytest.raises(DataError, match="train row 2: must have a column 'answer'"):
        task_of(tmp_path, [*rows, *TRL], ".jsonl")


def test_a_column_that_a_recipe_names_is_the_only_one_looked_for(tmp_path):
    with pytest.raises(DataError, match="must have a column 'answer'"):
        task_of(tmp_path, TRL, ".jsonl", answer="answer")


def test_a_key_that_a_table_fills_with_null_is_not_in_the_turn(tmp_path):
    named = [{"role": "user", "content": "x", "name": "Ann"}]
    rows = [{"prompt": named, "solution": "1"}, *TRL]
    task = task_of(tmp_path, rows, ".parquet", seed=1)
    turns = [dict(p.prompt[0]) for s in ("train", "validation", "test") for p in task.split(s)]
    assert sum("name" in turn for turn in turns) == 1
    assert None not in [value for turn in turns for value in turn.values()]
