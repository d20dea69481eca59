"""Recipes: defaults that work, mistakes that are named, overrides as people type them."""

import pytest

from rlpeft.config import Recipe, load_recipe, parse_recipe
from rlpeft.errors import ConfigError


def write(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_a_name_alone_is_a_recipe(tmp_path):
    assert load_recipe(write(tmp_path, 'name = "a"')) == Recipe(name="a")


def test_every_packaged_recipe_is_valid():
    from jobs.recipes import find_recipe, recipe_names

    for name in recipe_names():
        assert load_recipe(find_recipe(name)).name == name


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("learner.lr=1e-3", lambda r: r.learner.lr, 1e-3),
        ("train.steps = 7", lambda r: r.train.steps, 7),
        ("rollout.engine=vllm", lambda r: r.rollout.engine, "vllm"),
        ('adapter.targets=["q_proj"]', lambda r: r.adapter.targets, ("q_proj",)),
        (
            "rollout.options.enforce_eager=true",
            lambda r: r.rollout.options,
            {"enforce_eager": True},
        ),
        ("adapter.type=lora", lambda r: r.adapter.type, "lora"),
    ],
)
def test_overrides_take_toml_values_and_bare_words(tmp_path, override, read, expected):
    assert read(load_recipe(write(tmp_path, 'name = "a"'), (override,))) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "a"\n[learner]\nlearning_rate = 1', "unknown key 'learner.learning_rate'"),
        ('name = "a"\n[learner]\nlr = -1', "learner.lr: .*greater than 0.*got -1"),
        ('name = "a"\n[train]\ngroup_size = 1', "group_size must be at least 2"),
        ('name = "a"\n[rollout]\ntop_p = 0.9', "top_p must be 1"),
        ('name = "a"\n[learner]\nwarmup_steps = 101', "warmup_steps must be at most"),
        ('name = "a"\nreward = []', "at least one reward"),
        ('name = "a"\n[adapter]\ntype = "prefix"', "adapter.*'prefix'"),
        ("name = ", "must be TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_recipe(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"existing TOML file, got .*nowhere\.toml"):
        load_recipe(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("override", ["learner.lr", "=3", "name.deeper=1"])
def test_an_override_of_another_form_is_refused(tmp_path, override):
    with pytest.raises(ConfigError, match="--set"):
        load_recipe(write(tmp_path, 'name = "a"'), (override,))


def test_a_recipe_survives_its_own_json():
    recipe = parse_recipe({"name": "a", "adapter": {"type": "lora", "rank": 4}}, source="test")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
