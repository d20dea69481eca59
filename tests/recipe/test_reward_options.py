"""Options of built-in rewards are listed from their functions."""

import re
from pathlib import Path

import pytest

from rewards.errors import RewardError
from rewards.plugins import load
from rewards.registry import REWARDS
from rlpeft.recipe.reward_options import reward_option_tables

README = Path(__file__).resolve().parents[2] / "rewards" / "README.md"
TABLES = {table.given.partition('"')[2].rstrip('"'): table for table in reward_option_tables()}


def test_every_built_in_reward_is_there_and_says_what_it_does():
    assert list(TABLES) == list(REWARDS)
    assert all(table.doc for table in TABLES.values())


@pytest.mark.parametrize(
    ("reward", "name", "type_", "default", "doc"),
    [
        ("label", "labels", "array of string", "[]", "the closed set."),
        (
            "exact",
            "casefold",
            "boolean",
            "false",
            "whether capital and small letters are the same.",
        ),
        ("get_repetition_penalty_reward", "ngram_size", "integer", "3", "tokens of an n-gram."),
    ],
)
def test_an_option_has_what_its_function_says(reward, name, type_, default, doc):
    [option] = [option for option in TABLES[reward].options if option.name == name]
    assert (option.type, option.default, option.doc) == (type_, default, doc)


def test_every_option_says_what_it_does_and_stands_in_the_table_of_the_readme():
    cells = [line.split("|") for line in README.read_text().splitlines() if line[:3] == "| `"]
    listed = {row[1].strip(" `"): re.findall(r"`(\w+)`", row[3]) for row in cells}
    assert listed == {name: [o.name for o in table.options] for name, table in TABLES.items()}
    assert all(option.doc for table in TABLES.values() for option in table.options)


def test_an_option_without_a_default_must_be_given():
    found = {(name, o.name) for name, table in TABLES.items() for o in table.options if o.required}
    assert ("length", "target_len") in found
    assert ("length", "tolerance") not in found


@pytest.mark.parametrize("reward", ["accuracy_reward", "reasoning_accuracy_reward"])
def test_an_option_that_a_reward_of_trls_name_has_not_is_refused(reward):
    assert load(reward, {"policy": "lenient"}).options == {"policy": "lenient"}
    with pytest.raises(RewardError, match="nonsense"):
        load(reward, {"nonsense": 1})


def test_what_is_read_of_a_batch_is_no_option():
    assert TABLES["regex"].options == ()


@pytest.mark.parametrize("reward", [name for name in REWARDS if TABLES[name].options])
def test_rewards_take_the_options_that_are_listed(reward):
    given = {"integer": 3, "float": -1.0, "boolean": True, "string": "AB"}
    given |= {"array of string": ["a"], "string or table": "strict"}
    options = {option.name: given[option.type] for option in TABLES[reward].options}
    assert load(reward, options).name == reward
