"""Recipes in YAML say what their twins in TOML say; what two YAMLs read differently is refused."""

import datetime
import math
import tomllib

import pytest
import yaml

from jobs.recipes import PACKAGED, find_recipe, read_recipe, recipe_names
from rlpeft.errors import ConfigError
from rlpeft.recipe.run import load_recipe
from rlpeft.recipe.yaml import MOST_CHARACTERS, read_yaml


@pytest.fixture
def read(tmp_path):
    """What a text in YAML says."""

    def read(text):
        (tmp_path / "r.yaml").write_text(text)
        return read_yaml(tmp_path / "r.yaml")

    return read


@pytest.mark.parametrize("name", recipe_names())
def test_a_packaged_recipe_in_yaml_is_the_same_recipe(tmp_path, name):
    tree = tomllib.loads((PACKAGED / f"{name}.toml").read_text())
    path = tmp_path / "recipe.yml"
    path.write_text(yaml.safe_dump(tree))
    assert load_recipe(path) == read_recipe(name)
    assert find_recipe(str(path)) == path


def test_a_learning_rate_without_a_dot_is_a_number(read):
    assert read("a: 1e-4\nb: -2E+3\nc: .5\nd: 5.\ne: 1.5e-3") == {
        "a": 1e-4,
        "b": -2000.0,
        "c": 0.5,
        "d": 5.0,
        "e": 0.0015,
    }


def test_values_are_those_of_toml(read):
    found = read(
        "a: 1_000\nb: 0x1f\nc: 0o17\nd: -.inf\ne: true\nf: 2025-01-02\ng: [x, +7]\nh: 'no'"
    )
    assert found == {
        "a": 1000,
        "b": 31,
        "c": 15,
        "d": -math.inf,
        "e": True,
        "f": datetime.date(2025, 1, 2),
        "g": ["x", 7],
        "h": "no",
    }


@pytest.mark.parametrize("value", ["no", "Yes", "on", "OFF", "[a, yes]", "010", "1:30", "12:30:45"])
def test_a_value_that_two_versions_of_yaml_read_differently_is_refused(read, value):
    with pytest.raises(ConfigError, match=r"r\.yaml.* in quotes .*at line 2, column \d"):
        read(f"a: 1\nb: {value}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", r"the key 'a' stands there twice \(at line 2"),
        ("a:\n  b: 1\n  b: 2", r"the key 'b' stands there twice \(at line 3"),
        ("a: 1\n2: b", r"a key must be text, got '2' \(at line 2"),
        ("? [a]\n: 1", "a key must be text, got a list"),
        ("a: [", "at line 1, column 5"),
        ("a: 1\n\tb: 2", "at line 2, column 1"),
        ("a:\n b: \x01", r"special characters .*\(at line 2\)"),
        ("a: 1\n---\nb: 2", "another document"),
        ("- 1", "must hold keys and values"),
        ("a: " + "[" * 5000, "too many levels"),
        ("a: 2025-13-01", "month"),
        ("a: " + "9" * 5000, "must be YAML"),
    ],
)
def test_a_mistake_is_named_in_one_line(read, text, message):
    with pytest.raises(ConfigError, match=rf"r\.yaml.*{message}") as error:
        read(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system [x]",
        "!!binary aGk=",
        "!!set {x}",
        "!!omap [x: 1]",
        "!own x",
    ],
)
def test_a_value_that_is_not_plain_is_refused(read, value):
    with pytest.raises(ConfigError, match=r"a value must be plain, .*\(at line 1, column 4\)"):
        read(f"a: {value}")


LEVELS = "abcdefghijkl"


@pytest.mark.parametrize(
    "text",
    [
        "".join(
            f"{name}: &{name} [{', '.join([f'*{below}' if below else 'x'] * 9)}]\n"
            for below, name in zip(("", *LEVELS), LEVELS, strict=False)
        ),
        "".join(
            f"{name}: &{name} {{<<: [{', '.join([f'*{below}'] * 9)}]}}\n"
            if below
            else "a: &a {k: 1}\n"
            for below, name in zip(("", *LEVELS), LEVELS, strict=False)
        ),
        "a: &a [*a]",
        "a: &a {b: *a}",
    ],
    ids=["laughs", "merges", "circle", "circle of keys"],
)
def test_aliases_that_stand_for_more_than_a_recipe_are_refused(read, text):
    with pytest.raises(ConfigError, match="its aliases, written out"):
        read(text)


def test_a_text_that_is_no_recipe_by_its_length_is_not_parsed(read):
    with pytest.raises(ConfigError, match="characters, it has"):
        read("a: " + "x" * MOST_CHARACTERS)


def test_anchors_and_merges_are_followed_and_what_they_share_is_not_one_thing(read):
    found = read("a: &a {k: 1, l: [2]}\nb: *a\nc:\n  <<: *a\n  k: 3")
    assert found == {"a": {"k": 1, "l": [2]}, "b": {"k": 1, "l": [2]}, "c": {"k": 3, "l": [2]}}
    found["b"]["l"].append(4)
    assert found["a"]["l"] == [2]
    assert found["c"]["l"] == [2]
