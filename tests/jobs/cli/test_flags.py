"""Flags are `--set` in short; three of them are a recipe, and what they assume is said."""

import json

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cli.flags import recipe_given, search_given
from jobs.recipes import read_recipe
from rlpeft.errors import ConfigError
from rlpeft.recipe.run import Recipe

NONE = {"model": None, "data": None, "reward": None}
ALL = {"model": "tiny", "data": "rows.jsonl", "reward": "exact"}


def test_flags_change_a_recipe_as_set_does():
    given = recipe_given("quickstart", [], model="smollm2-135m", data=None, reward="math")
    settings = ["model.name=smollm2-135m", "reward=[{ name = 'math' }]"]
    assert given == read_recipe("quickstart", settings)
    assert recipe_given("quickstart", [], **NONE) == read_recipe("quickstart")


def test_set_comes_after_flags():
    changes = ["model.name=other", "name=mine", "train.steps=3"]
    found = recipe_given(None, changes, **ALL)
    assert (found.model.name, found.name, found.train.steps) == ("other", "mine", 3)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("rows.jsonl", "rows"),
        ("in/sums.jsonl.gz", "sums"),
        ("in/sums/", "sums"),
        ("owner/set", "set"),
    ],
)
def test_without_a_recipe_flags_are_all_that_is_named(data, name):
    found = recipe_given(None, [], **ALL | {"data": data})
    tree = {"name": name, "model": {"name": "tiny"}, "task": {"name": "jsonl", "path": data}}
    assert found == Recipe.model_validate(tree | {"reward": [{"name": "exact"}]})


@pytest.fixture
def sixty(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prompt,answer\n" + "".join(f"{n}@=,{n}\n" for n in range(60)))
    return str(path)


def test_a_file_that_is_divided_gets_sizes_that_it_has_room_for(sixty):
    task = recipe_given(None, [], **ALL | {"data": sixty}).task
    assert (task.num_validation, task.num_test) == (15, 15)
    assert recipe_given(None, ["task.num_test=9"], **ALL | {"data": sixty}).task.num_test == 9
    searched = search_given(None, [], **ALL | {"data": sixty}, experts=["runs"])
    assert (searched.task.num_validation, searched.task.num_test) == (1, 30)
    assert (searched.name, searched.experts, searched.task.name) == ("rows", ("runs",), "jsonl")


def test_rows_take_the_place_of_a_task_that_makes_its_own(sixty, capsys):
    over = NONE | {"data": sixty}
    task = recipe_given("quickstart", [], **over).task
    assert (task.name, task.path, task.options) == ("jsonl", sixty, {})
    assert "--data takes the place of all of task 'tiny/swap'" in capsys.readouterr().err
    searched = search_given("tiny-mix", [], **over, experts=["runs/a", "runs/b"])
    assert (searched.task.path, searched.task.num_test) == (sixty, 30)
    assert searched.experts == ("runs/a", "runs/b")


def test_rows_of_a_recipes_own_task_keep_its_options(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'name = "mine"\nmodel.name = "tiny"\ntask.path = "old.jsonl"\ntask.num_test = 7\n'
        'task.options.template = "{question}="\nreward = [{ name = "exact" }]\n'
    )
    task = recipe_given(str(recipe), [], **NONE | {"data": "new.jsonl"}).task
    assert (task.path, task.num_test) == ("new.jsonl", 7)
    assert task.options == {"template": "{question}="}


def test_all_that_a_search_lacks_is_said_at_once():
    done = CliRunner().invoke(app, ["adapt", "--data", "rows.csv"])
    assert done.exit_code == 1
    assert "--model and --reward and --experts are missing" in " ".join(done.output.split())


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a = 1", "[x]", "ü"])
def test_a_flag_is_text_whatever_it_holds(value):
    found = recipe_given(None, ["name=x"], model=value, data=value, reward=value)
    assert (found.model.name, found.task.path, found.reward[0].name) == (value, value, value)


@pytest.mark.parametrize("command", ["train", "sft", "doctor"])
def test_what_is_missing_is_said(command):
    done = CliRunner().invoke(app, [command, "--data", "rows.jsonl"])
    assert done.exit_code == 1
    assert "a recipe must be named" in done.output
    assert "--model and --reward are missing" in done.output
    with pytest.raises(ConfigError, match="--reward is missing"):
        recipe_given(None, [], **ALL | {"reward": None})


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "sft"])
def test_rows_are_trained_on_without_a_recipe_and_what_is_assumed_is_said(
    tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    numbers = [f"{n}" for n in range(1111, 1160) if "0" not in str(n)]
    rows = "".join(f"{n}@=,{n[2:]}{n[:2]}\n" for n in numbers)
    (tmp_path / "rows.csv").write_text(f"prompt,answer\n{rows}")
    sizes = {"train.steps": 1, "train.prompts_per_step": 2, "train.group_size": 2}
    sizes |= {
        "task.num_validation": 4,
        "task.num_test": 4,
        "rollout.max_tokens": 8,
        "sft.micro_batch": 2,
    }
    changes = [part for item in sizes.items() for part in ("--set", "{}={}".format(*item))]
    flags = ["--model", "tiny", "--data", "rows.csv", "--reward", "exact"]
    local = ["--local"] if command == "train" else []
    done = CliRunner().invoke(app, [command, *flags, *local, *changes, "--json"])
    assert done.exit_code == 0, done.output
    name = "rows" if command == "train" else "rows-sft"
    assert f"no recipe: name = '{name}'" in done.stderr
    assert "1 steps of 2 prompts and 2 answers to each, of at most 8 tokens" in " ".join(
        done.stderr.split()
    )
    summary = json.loads(done.stdout)
    folder = tmp_path / "runs" / name
    assert summary["expert"] == str(folder / "expert")
    assert read_recipe(str(folder / "recipe.json")).task.path == "rows.csv"
