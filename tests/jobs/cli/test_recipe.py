"""`rlpeft recipe`: listings, recipes and schemas, and what does not go together."""

import json
import tomllib

import pytest
from typer.testing import CliRunner

from jobs.cli import app


def recipe(*arguments):
    return CliRunner().invoke(app, ["recipe", *arguments])


def test_the_listing_fits_a_narrow_terminal_and_names_every_section():
    shown = recipe().stdout.splitlines()
    assert max(map(len, shown)) <= 80
    for header in ("[loss]", "[[reward]]", '[adapter]  type = "moslora"', '[search]  type = "cma"'):
        assert header in shown
    assert "  lr = 0.01  (float, > 0)" in shown
    assert "      Peak learning rate of AdamW." in shown


def test_one_section_alone_is_listed():
    tables = json.loads(recipe("--section", "loss", "--json").stdout)
    assert [table["section"] for table in tables] == ["loss"]


def test_a_misspelt_section_is_answered_with_the_nearest():
    result = recipe("--section", "shot")
    assert result.exit_code == 1
    assert "Did you mean 'shots'?" in result.output


@pytest.mark.parametrize("name", ["quickstart", "tiny-mix"])
def test_a_recipe_is_printed_with_overrides_and_defaults(name):
    printed = tomllib.loads(recipe(name, "--set", "rollout.max_tokens=7").stdout)
    assert printed["rollout"]["max_tokens"] == 7
    assert printed["resources"]["placement_timeout_s"] == 120.0


def test_a_file_that_names_experts_is_a_recipe_of_adapt(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(recipe("tiny-mix").stdout)
    assert recipe(str(path)).stdout == path.read_text()


def test_a_recipe_is_printed_as_json_too():
    assert json.loads(recipe("quickstart", "--json").stdout)["name"] == "quickstart"


def test_a_schema_is_of_the_command_that_reads_it():
    train, adapt = (json.loads(recipe("--schema", *more).stdout) for more in ((), ("--adapt",)))
    assert "learner" in train["properties"]
    assert "search" in adapt["properties"]
    assert adapt["title"] == "Recipe of rlpeft adapt"


@pytest.mark.parametrize(
    "arguments",
    [
        ("quickstart", "--schema"),
        ("quickstart", "--section", "loss"),
        ("--set", "a.b=1"),
        ("--schema", "--section", "loss"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments):
    result = recipe(*arguments)
    assert result.exit_code == 1
    assert result.output.startswith("error")


def test_a_misspelt_recipe_is_answered_with_the_nearest():
    assert "Did you mean 'quickstart'?" in recipe("quikstart").output


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("quickstart", "task.path=rows.csv", "task.path must be absent for task.name ="),
        ("tiny-two", "task.swap.path=rows.csv", "task.path must be absent for task.name ="),
        ("quickstart", "task.options.sed=1", "Did you mean 'seed'"),
        ("quickstart", "task.name=gsm9k", "Did you mean 'gsm8k'"),
    ],
)
def test_a_task_that_no_run_would_take_is_refused(name, change, said):
    result = CliRunner().invoke(app, ["recipe", name, "--set", change])
    assert result.exit_code == 1
    assert said in result.stderr
