"""`rlpeft sft`: what its expert is called."""

import pytest

from jobs.cli.sft import own_name
from jobs.recipes import read_recipe
from rlpeft.errors import ConfigError


def test_supervised_experts_are_called_otherwise_than_those_of_train(tmp_path):
    recipe = read_recipe("quickstart")
    named = recipe.model_copy(update={"name": "quickstart-sft"})
    assert own_name(recipe, tmp_path, ["train.steps=1"]) == recipe.model_copy(
        update={"name": "quickstart-sft"}
    )
    assert own_name(named, tmp_path, []) == named
    assert own_name(recipe, tmp_path, ["name=quickstart"]) == recipe
    (tmp_path / "recipe.json").write_text(named.model_dump_json())
    assert own_name(recipe, tmp_path, []) == named


def test_a_run_from_before_goes_on_under_its_name(tmp_path):
    recipe = read_recipe("quickstart")
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    assert own_name(recipe, tmp_path, []) == recipe


def test_a_name_without_room_is_told_before_anything_is_trained(tmp_path):
    recipe = read_recipe("quickstart", [f"name={'x' * 98}"])
    with pytest.raises(ConfigError, match="at most 100 bytes, got 102"):
        own_name(recipe, tmp_path, [])
