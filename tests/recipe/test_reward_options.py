"""Options of built-in rewards are listed from their functions."""

import pytest

from rewards.plugins import load
from rewards.registry import REWARDS
from rlpeft.recipe.reward_options import reward_option_tables

TABLES = {table.given.partition('"')[2].rstrip('"'): table for table in reward_option_tables()}


def test_every_built_in_reward_is_there_and_says_what_it_does():
    assert list(TABLES) == list(REWARDS)
    assert all(table.doc for table in TABLES.values())


@pytest.mark.parametrize(
    ("reward", "name", "type_", "default", "doc"),
    [
        ("label", "labels", "array of string", "[]", "the closed set."),
        ("exact", "casefold", "boolean", "false", ""),
        ("get_cosine_scaled_reward", "max_len", "integer", "", "`L_max` in tokens."),
    ],
)
def test_an_option_has_what_its_function_says(reward, name, type_, default, doc):
    [option] = [option for option in TABLES[reward].options if option.name == name]
    assert (option.type, option.default, option.doc) == (type_, default, doc)
    assert option.required == (reward == "get_cosine_scaled_reward")


def test_what_is_read_of_a_batch_is_no_option():
    assert TABLES["regex"].options == ()


@pytest.mark.parametrize("reward", [name for name in REWARDS if TABLES[name].options])
def test_rewards_take_the_options_that_are_listed(reward):
    given = {"integer": 3, "float": -1.0, "boolean": True, "string": "AB"}
    given |= {"array of string": ["a"], "string or table": "strict"}
    options = {option.name: given[option.type] for option in TABLES[reward].options}
    assert load(reward, options).name == reward
