"""Where one thing is named twice."""

import json

import pytest
from typer.testing import CliRunner

from jobs.adapt import expert_folders
from jobs.cli import app
from rlpeft.errors import ConfigError
from rlpeft.once import named_twice, require_once
from rlpeft.recipe.reward import RewardConfig, rewards_twice


def test_a_name_that_stands_there_twice_is_told():
    assert named_twice(["a", "b", "a"]) == "'a' twice"
    assert named_twice(["a", "b"]) == named_twice([]) == ""


def test_two_names_of_one_thing_are_told_with_both():
    assert named_twice(["a", "b", "./a"], [1, 2, 1]) == "'a' and './a', which are one"


def test_it_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^model.merge must name each expert once, got 'a' twic"):
        require_once("model.merge must name each expert", ["a", "a"])


def test_a_search_is_refused_that_names_a_folder_twice(adapt_recipe, tiny_experts):
    with pytest.raises(ValueError, match="experts must name each folder once"):
        adapt_recipe(experts=[str(tiny_experts)] * 2)


def test_a_search_is_refused_whose_folders_hold_one_expert(adapt_recipe, tiny_experts):
    recipe = adapt_recipe(experts=[str(tiny_experts), str(tiny_experts / "up" / ".." / "up")])
    with pytest.raises(ConfigError, match=r"experts must name each expert once.*which are one"):
        expert_folders(
            recipe, json.loads((tiny_experts / "up/card.json").read_text())["base_digest"]
        )


@pytest.mark.parametrize("command", [["evaluate"], ["experts", "compare"]])
def test_a_command_is_refused_that_is_given_an_expert_twice(command, tiny_experts):
    given = [str(tiny_experts / "up"), str(tiny_experts / "down"), f"{tiny_experts}/down/"]
    result = CliRunner().invoke(app, [*command, *given])
    assert result.exit_code == 1
    assert "must be given each expert once" in " ".join(str(result.output).split())


def test_rewards_are_one_where_their_options_are():
    strict = RewardConfig(name="math", weight=2.0)
    lenient = RewardConfig(name="math", options={"policy": "lenient"})
    assert rewards_twice([strict, lenient]) == ""
    assert rewards_twice([strict, lenient, RewardConfig(name="math")]) == "'math' twice"
