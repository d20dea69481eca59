"""What was meant: keys, recipes and tasks with a letter wrong."""

import pytest

from jobs.recipes import ADAPT, find_recipe, read_adapt_recipe, read_recipe
from rlpeft.errors import ConfigError, DataError, ModelError
from rlpeft.models.folder import resolve_model
from rlpeft.recipe.run import TaskConfig, parse_recipe
from rlpeft.suggest import did_you_mean
from rlpeft.tasks import load_task

TINY = {"name": "a", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}


def test_nothing_is_suggested_where_nothing_is_near():
    assert did_you_mean("xyz", ["quickstart"]) == ""


@pytest.mark.parametrize(
    ("section", "key", "meant"),
    [
        ("train", "step", "steps"),
        ("task", "num_validate", "num_validation"),
        ("rollout", "max_token", "max_tokens"),
        ("adapter", "target", "targets"),
    ],
)
def test_an_unknown_key_is_answered_with_the_one_that_is_near(section, key, meant):
    tree = TINY | {section: {**TINY.get(section, {}), key: 1}}
    with pytest.raises(ConfigError, match=f"unknown key.*Did you mean '{meant}'"):
        parse_recipe(tree, source="test")


def test_an_unknown_key_that_is_near_to_none_is_answered_with_all():
    with pytest.raises(
        ConfigError, match=r"unknown key 'model\.path'.*Known are .*name, quantisation, start\."
    ):
        parse_recipe(TINY | {"model": {"name": "tiny", "path": "x"}}, source="test")


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"steps": 9}, r"unknown key 'steps'.* There is 'train\.steps'\.$"),
        ({"train": {"lr": 0.1}}, r"There is 'learner\.lr'\. Known are"),
        ({"task": {"name": "gsm8k", "template": "{q}"}}, r"go under task\.options\. Known are"),
        (
            {"reward": [{"name": "math", "gold": "a"}]},
            r"go under reward\.math\.options\. Known are",
        ),
    ],
)
def test_a_key_in_the_wrong_section_is_answered_with_its_place(changes, answer):
    with pytest.raises(ConfigError, match=answer):
        parse_recipe(TINY | changes, source="test")


def test_a_misspelt_recipe_is_answered_with_the_one_that_is_near():
    with pytest.raises(ConfigError, match="Did you mean 'quickstart'"):
        find_recipe("quikstart")


def test_a_recipe_of_another_command_says_which():
    with pytest.raises(ConfigError, match="Run: rlpeft adapt tiny-mix"):
        find_recipe("tiny-mix")
    with pytest.raises(ConfigError, match="Run: rlpeft train quickstart"):
        read_adapt_recipe("quickstart")


@pytest.mark.parametrize(("name", "meant"), [("gsm8", "gsm8k"), ("tiny/swop", "tiny/swap")])
def test_a_misspelt_task_is_answered_with_the_one_that_is_near(name, meant):
    with pytest.raises(DataError, match=f"Did you mean '{meant}'"):
        load_task(TaskConfig(name=name))


def test_a_misspelt_task_option_is_answered_with_the_one_that_is_near(tmp_path):
    config = TaskConfig(name="jsonl", path=str(tmp_path), options={"templates": "{a}"})
    with pytest.raises(ConfigError, match="Did you mean 'template'"):
        load_task(config)


def test_a_misspelt_model_is_answered_with_the_one_that_is_near():
    with pytest.raises(ModelError, match="Did you mean 'smollm2-135m'"):
        resolve_model("smollm-135m")


@pytest.mark.parametrize("typed", ["mine.tml", "./mine.toml1", "mine"])
def test_a_recipe_file_is_found_by_a_name_that_is_near(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").touch()
    (tmp_path / "mine.tm").touch()  # no recipe
    with pytest.raises(ConfigError, match=r"Did you mean 'mine\.toml'\?"):
        find_recipe(typed)


def test_a_file_of_rows_is_found_by_a_name_that_is_near(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    config = TaskConfig(name="jsonl", path=str(tmp_path / "row.jsonl"))
    with pytest.raises(DataError, match=r"Did you mean '.*rows\.jsonl'\?"):
        load_task(config)


def test_a_file_of_another_name_is_not_proposed_for_its_folder_and_ending(tmp_path):
    folder = tmp_path / "a-long-name-that-both-share"
    folder.mkdir()
    (folder / "notes.jsonl").touch()
    config = TaskConfig(name="jsonl", path=str(folder / "rows.jsonl"))
    with pytest.raises(DataError, match="must be an existing file") as one:
        load_task(config)
    assert "Did you mean" not in str(one.value)


def test_an_unknown_key_is_called_as_it_was_written():
    tree = TINY | {"adapter": {"type": "svf", "target_modules": ["q_proj"]}}
    with pytest.raises(ConfigError, match=r"unknown key 'adapter\.target_modules'"):
        parse_recipe(tree, source="test")


def test_a_file_that_is_a_recipe_of_another_command_is_called_that_and_not_read_key_by_key(
    tmp_path,
):
    path = tmp_path / "mine.toml"
    path.write_text(find_recipe("quickstart").read_text())
    with pytest.raises(ConfigError, match=r"recipe of another command.* Run: rlpeft train") as one:
        read_adapt_recipe(str(path))
    assert "unknown key" not in str(one.value)
    path.write_text(find_recipe("tiny-mix", ADAPT).read_text())
    with pytest.raises(ConfigError, match=r"recipe of another command.* Run: rlpeft adapt"):
        read_recipe(str(path))
