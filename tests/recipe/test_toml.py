"""Recipes written as TOML read back as what they were."""

import datetime
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.recipes import ADAPT, read_either_recipe, recipe_names
from rlpeft.errors import ConfigError
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.run import Recipe, parse_recipe
from rlpeft.recipe.toml import filled_in, toml_value

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
    assert set(tree) >= set(schema.model_fields) - {"sft"}


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
