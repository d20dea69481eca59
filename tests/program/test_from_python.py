"""`rlpeft.train` makes of plain objects the run that a recipe makes, and no other."""

import json

import pytest
from datasets import Dataset
from torch import nn

import jobs
import rlpeft
from rlpeft.adapters import SvfConfig
from rlpeft.errors import CheckpointError, ConfigError, DataError
from rlpeft.files import write_jsonl
from rlpeft.program.run import run
from rlpeft.recipe.run import parse_recipe
from rlpeft.runs.records import read_metrics

ROWS = [{"prompt": f"{n}@=", "answer": f"{n}"[2:] + f"{n}"[:2]} for n in range(2111, 2200, 2)]
SIZES = {"num_validation": 6, "num_test": 8}
SMALL = {"steps": 2, "prompts_per_step": 4, "group_size": 4, "eval_every": 1, "report_to": []}
SECTIONS = {
    "rollout": {"max_tokens": 6},
    "learner": {"lr": 0.05},
    "train": SMALL,
}


class CutOff(Exception):
    """Stands for whatever ends a driver."""


def halves(completions, answer, **columns):
    return [text.strip() == gold for text, gold in zip(completions, answer, strict=True)]


def strict(completions, answer, **columns):
    return [text == gold for text, gold in zip(completions, answer, strict=True)]


def train(out, dataset=ROWS, reward=halves, **changes):
    return rlpeft.train("tiny", dataset, reward, out=out, **{"task": SIZES, **SECTIONS, **changes})


@pytest.fixture(scope="module")
def by_recipe(tmp_path_factory):
    """What a recipe in files comes to."""
    root = tmp_path_factory.mktemp("recipe")
    write_jsonl(root / "mine.jsonl", ROWS)
    tree = {
        "name": "mine",
        "model": {"name": "tiny"},
        "task": {"path": str(root / "mine.jsonl"), **SIZES},
        "reward": [{"name": "exact"}],
        **SECTIONS,
    }
    return run(parse_recipe(tree, source="test"), root / "run")


@pytest.mark.slow
def test_objects_give_the_expert_of_the_same_recipe(by_recipe, tmp_path):
    done = train(tmp_path / "mine", Dataset.from_list(ROWS), adapter=SvfConfig())
    assert done.summary["digest"] == by_recipe["digest"]
    assert done.test.model_dump() == by_recipe["test"]
    assert done.base_test.model_dump() == by_recipe["base_test"]
    assert done.against_base.model_dump() == by_recipe["against_base"]
    assert done.expert == tmp_path / "mine" / "expert"
    assert (tmp_path / "mine" / "report.html").is_file()


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_when_it_is_called_again(by_recipe, tmp_path):
    def cut_off(progress, metrics):
        if progress.step == 1:
            raise CutOff

    with pytest.raises(CutOff):
        train(tmp_path, name="mine", on_step=cut_off)
    assert train(tmp_path, name="mine").summary["digest"] == by_recipe["digest"]
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2]


@pytest.mark.slow
def test_a_run_goes_on_with_neither_other_rows_nor_another_reward(tmp_path):
    first = train(tmp_path, train={**SMALL, "steps": 1})
    with pytest.raises(CheckpointError, match="must go on with the rows that it began with"):
        train(tmp_path, ROWS[1:])
    with pytest.raises(CheckpointError, match="reward"):
        train(tmp_path, reward=strict)
    kept = [json.loads(line) for line in next(tmp_path.glob("given_rows/*")).open()]
    assert kept == ROWS
    assert train(tmp_path, train={**SMALL, "steps": 1}).summary["digest"] == first.summary["digest"]


@pytest.mark.slow
def test_rows_that_could_not_be_used_may_be_mended_in_the_same_folder(tmp_path):
    with pytest.raises(DataError, match="must have a column 'prompt'"):
        train(tmp_path, [{"question": row["prompt"], "answer": row["answer"]} for row in ROWS])
    assert train(tmp_path, train={**SMALL, "steps": 1}).test.total == 8


@pytest.mark.slow
def test_columns_are_named_as_in_a_recipe_and_splits_are_taken_as_they_are(tmp_path):
    rows = [{"question": row["prompt"][:-1], "gold": row["answer"]} for row in ROWS]
    options = {"template": "{question}=", "answer": "gold"}
    splits = {"train": rows[:30], "eval": rows[30:36], "test": rows[36:]}
    done = train(tmp_path, splits, task={"options": options}, train={**SMALL, "steps": 1})
    assert done.summary["problems"] == {"train": 30, "validation": 6, "test": len(rows) - 36}


@pytest.mark.slow
def test_what_a_function_gives_up_and_how_rows_are_divided_is_said(tmp_path, capsys):
    train(tmp_path, task={}, train={**SMALL, "steps": 1})
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("halves runs in this process and cannot be killed") == 1
    assert "rows are divided by task={'num_validation': 11, 'num_test': 11}" in said


@pytest.mark.slow
@pytest.mark.parametrize("told", [True, False])
def test_each_step_is_a_line_unless_somebody_is_told_of_it(told, tmp_path, capsys):
    train(tmp_path, on_step=(lambda *_: None) if told else None)
    said = capsys.readouterr().err
    first = f"{tmp_path.name}: 2 steps. The best in validation is kept as the expert"
    assert " ".join(said.split()).startswith(first)
    assert "Testing the expert and its base model on 8 problems." in said
    assert [f"step {n}/2  " in said for n in range(3)] == [not told] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rollout": {"max_token": 6}}, r"rlpeft\.train.*rollout\.max_token"),
        ({"rolout": {}}, r"rlpeft\.train.*rolout"),
        ({"train": {"steps": 0}}, r"train\.steps"),
        ({"adapter": "svff"}, "svff"),
        ({"task": {"path": "rows.jsonl"}}, "task must be a mapping of options beside dataset"),
        ({"reward": lambda completions: [0.0]}, "function written by def"),
    ],
)
def test_a_mistake_is_told_as_of_a_recipe_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        train(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dataset", [ROWS, "rows.jsonl"])
def test_an_object_store_is_no_place_for_a_run(tmp_path, monkeypatch, dataset):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(ConfigError, match="must lie on a file system"):
        train("s3://bucket/run", dataset)
    assert not (tmp_path / "s3:").exists()


def test_a_prompt_completes_what_the_package_offers():
    assert {"train", "open_trainee"} <= {*dir(rlpeft)}
    with pytest.raises(AttributeError, match="no attribute 'teach'"):
        _ = rlpeft.teach


def test_a_module_in_the_place_of_its_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Save it and its tokenizer"):
        rlpeft.train(nn.Linear(1, 1), ROWS, halves, out=tmp_path / "run")


def test_a_function_is_refused_where_rewards_run_in_actors(tmp_path):
    with pytest.raises(ConfigError, match=r"resources\.reward_workers must be 0 for functions"):
        jobs.train(
            "tiny", ROWS, halves, out=tmp_path / "run", resources={"reward_workers": 2}, **SECTIONS
        )


def test_steps_ahead_in_one_process_are_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"max_lag must be 0 in one process, got 1: .*jobs\.train"
    ):
        train(tmp_path, rollout={"max_tokens": 6, "max_lag": 1})


def test_no_rows_and_no_model_are_told_as_that(tmp_path):
    with pytest.raises(DataError, match=r"dataset must have rows by split .*, got none"):
        train(tmp_path / "a", {})
    with pytest.raises(ConfigError, match="model must name a folder or a Hub id, got ''"):
        rlpeft.train("", ROWS, halves, out=tmp_path / "a")
