"""Recipes written as TOML read back as what they were."""

import datetime
import json
import re
import tomllib
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.recipes import ADAPT, PACKAGED, find_recipe, read_either_recipe, recipe_names
from rlpeft.errors import ConfigError
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.run import Recipe, parse_recipe, read_tree
from rlpeft.recipe.toml import filled_in, toml_value

ROOT = Path(__file__).resolve().parents[2]
TEXT = st.text(st.characters(codec="utf-8"))
SCALARS = st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | st.dates()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)
ALL = [*recipe_names(), *recipe_names(ADAPT)]


@pytest.mark.parametrize("name", ALL)
def test_a_packaged_recipe_with_its_defaults_filled_in_reads_back_the_same(name):
    recipe = read_either_recipe(name)
    schema = AdaptRecipe if name in recipe_names(ADAPT) else Recipe
    tree = tomllib.loads(filled_in(recipe))
    assert schema.model_validate(tree) == recipe
    each_has_its_own = {"reward"} if isinstance(tree["task"], list) else set()
    assert set(tree) >= set(schema.model_fields) - {"sft", "environment"} - each_has_its_own


@pytest.mark.parametrize("stop", [{}, {"stop": []}, {"stop": ["x"]}])
@pytest.mark.parametrize("reward", [{}, {"reward": [{"name": "exact"}]}])
@pytest.mark.parametrize("name", ALL)
def test_a_recipe_that_was_written_means_what_the_one_it_was_written_from_means(name, stop, reward):
    """Absences say something: the expert's own stop strings, no reward for rows of one's own."""
    schema = AdaptRecipe if name in recipe_names(ADAPT) else Recipe
    tree = read_tree(find_recipe(name, ADAPT if schema is AdaptRecipe else PACKAGED))
    kept = {key: value for key, value in tree.items() if key != "reward"}
    rollout = {key: value for key, value in tree.get("rollout", {}).items() if key != "stop"}
    tree = kept | {"rollout": rollout | stop, "task": {"name": "tiny/swap"}} | reward
    recipe = schema.model_validate(tree)
    for written in (tomllib.loads(filled_in(recipe)), json.loads(recipe.model_dump_json())):
        assert schema.model_validate(written) == recipe
        assert written["rollout"].get("stop") == stop.get("stop")
        own_rows = written | {"task": {"path": "rows.jsonl"}}
        with nullcontext() if reward else pytest.raises(ValueError, match="reward must be given"):
            schema.model_validate(own_rows)


def test_no_code_asks_whether_an_option_was_set():
    """What absence means is a value of its own, `None`: a set of names is lost where one writes."""
    for package in ("rlpeft", "jobs"):
        for path in (ROOT / package).rglob("*.py"):
            assert not re.search(r"fields_set|exclude_unset", path.read_text()), path


@given(VALUES)
def test_a_value_reads_back_the_same(value):
    text = toml_value(value)
    assert "\n" not in text
    assert tomllib.loads(f"value = {text}")["value"] == value


def test_tables_within_options_keep_the_order_of_their_keys():
    """A template may write them into the prompt."""
    arguments = {"tools": [{"b": {"z": 1, "a": {"d": 2}}, "a": 3}], "x": {"c": {}, "b": 1}, "y": 2}
    tree = {"name": "a", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}
    recipe = parse_recipe(tree | {"chat": {"arguments": arguments}}, source="a")
    read = tomllib.loads(filled_in(recipe))["chat"]["arguments"]
    assert str(read) == str(arguments)


def test_dates_and_names_of_keys_are_written_as_toml_has_them():
    value = {"a b": datetime.date(2024, 5, 1), "": datetime.time(1, 2)}
    assert toml_value(value) == '{ "a b" = 2024-05-01, "" = 01:02:00 }'


def test_a_null_among_options_is_refused():
    tree = {"name": "a", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}
    recipe = parse_recipe(tree | {"chat": {"arguments": {"tools": None}}}, source="a")
    with pytest.raises(ConfigError, match="cannot hold None"):
        filled_in(recipe)
