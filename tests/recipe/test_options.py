"""Options document themselves: in a listing and in a schema, both from the fields."""

import tomllib

import jsonschema
import pytest

from jobs.recipes import ADAPT, TOGETHER, find_recipe, recipe_names
from rlpeft.errors import ConfigError
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.options import (
    all_option_tables,
    of_section,
    option_tables,
    recipe_schema,
)
from rlpeft.recipe.run import Recipe
from rlpeft.recipe.together import ExpertsRecipe

TABLES = all_option_tables()
TREE = {"name": "a", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}


def one(section, name, given=""):
    [table] = [table for table in of_section(TABLES, section) if given in table.given]
    [option] = [option for option in table.options if option.name == name]
    return option


def test_every_option_and_every_section_says_what_it_is():
    for table in TABLES:
        assert table.doc, table.section
        for option in table.options:
            assert option.doc, f"{table.section}.{option.name}"


def test_the_listing_has_every_field_of_every_section():
    listed = {table.section: {o.name for o in table.options} for table in TABLES}
    for schema in (Recipe, AdaptRecipe):
        for name, field in schema.model_fields.items():
            fields = getattr(field.annotation, "model_fields", {})
            assert listed.get(name, set()) >= set(fields)
            assert name in listed or name in {o.name for t in TABLES for o in t.options}


@pytest.mark.parametrize(
    ("option", "type_", "default", "bounds"),
    [
        (one("learner", "lr"), "float", "0.01", "> 0"),
        (one("learner", "betas"), "[float, float]", "[0.9, 0.999]", "each ≥ 0, < 1"),
        (one("loss", "kl"), '"full" | "full_reverse" | "k1" | "k3"', '"k3"', ""),
        (one("train", "patience"), "integer", "", "≥ 1"),
        (one("chat", "date"), "date", "", ""),
        (one("adapter", "targets", "svf"), "string or array of string", '"attention-and-mlp"', ""),
        (
            one("rollout", "stop"),
            "array of string",
            "",
            "32 items at most, each 1 or more letters, 1024 letters at most",
        ),
    ],
)
def test_an_option_has_type_default_and_bounds(option, type_, default, bounds):
    assert (option.type, option.default, option.bounds) == (type_, default, bounds)


def test_what_has_no_default_must_be_given():
    assert one("model", "name").required
    assert not one("train", "patience").required


def test_a_section_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'rollout'"):
        of_section(TABLES, "roloout")


def test_an_adaptation_adds_what_is_its_own():
    own = {table.section for table in option_tables(AdaptRecipe)}
    assert {"shots", "search"} <= own & {table.section for table in TABLES}
    assert "loss" not in own
    assert len(of_section(TABLES, "model")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "folder"),
    [
        (Recipe, None),
        (ExpertsRecipe, None),
        (ExpertsRecipe, TOGETHER),
        (AdaptRecipe, ADAPT),
    ],
)
def test_every_packaged_recipe_keeps_its_schema(schema, folder):
    tree = recipe_schema(schema, title="t")
    jsonschema.Draft202012Validator.check_schema(tree)
    for name in recipe_names(*([folder] if folder else [])):
        path = find_recipe(name, *([folder] if folder else []))
        jsonschema.validate(tomllib.loads(path.read_text()), tree)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lerner": {}},
        {"learner": {"lr": 0}},
        {"adapter": {"type": "lora", "curvature": -1}},
        {"adapter": {"type": "nothing"}},
        {"reward": {"name": "math"}},
        {"task": {"num_test": 3}},
    ],
)
def test_a_mistake_breaks_the_schema(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(TREE | wrong, recipe_schema(Recipe, title="t"))


@pytest.mark.parametrize(
    "right", [{"adapter": {"targets": ["q_proj"]}}, {"task": {"path": "rows.jsonl"}}]
)
def test_what_a_recipe_may_leave_out_keeps_the_schema(right):
    jsonschema.validate(TREE | right, recipe_schema(Recipe, title="t"))


def test_a_search_may_leave_out_its_type():
    tree = {**TREE, "experts": ["runs"], "search": {"iterations": 3}}
    jsonschema.validate(tree, recipe_schema(AdaptRecipe, title="t"))
