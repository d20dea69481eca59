"""The comparison of ways to choose: every way is there, on the same problems, and may continue."""

import pytest
import typer
from typer.testing import CliRunner

from jobs.adapt import run
from jobs.cli.compare import mixes
from jobs.studies.mixes import SEARCHES, compare, markdown, variant
from rlpeft.errors import ExpertError
from rlpeft.experts.measures import Accuracy


@pytest.mark.slow
def test_every_way_is_judged_on_the_same_problems(adapt_recipe, tmp_path):
    task = {"name": "tiny/mix", "num_validation": 8, "num_test": 5}
    recipe = adapt_recipe(task=task, search={"population_size": 2, "iterations": 1})
    table = compare(recipe, tmp_path, seeds=[0, 1])
    assert list(table) == ["base", "down", "up", "uniform", "two passes, prompt", *SEARCHES]
    assert {accuracy.total for found in table.values() for accuracy in found} == {5}
    assert {len(table[way]) for way in SEARCHES} == {2}
    alone = run(variant(recipe, "cma", 1), tmp_path / "alone")
    assert table["few-shot, CMA-ES"][1].model_dump() == alone["test"]["mixed"]
    assert (tmp_path / "passes.csv").read_text().splitlines()[1].startswith("prompt,")
    # Started again, it finds every search done.
    assert compare(recipe, tmp_path, seeds=[0, 1]) == table


def test_a_seed_decides_shots_and_search_and_shared_options_stay(adapt_recipe):
    recipe = adapt_recipe(search={"population_size": 6, "elite_fraction": 0.5, "per": "matrix"})
    same, other = variant(recipe, "cem", 4), variant(recipe, "random", 4)
    assert (same.seed, same.shots.seed) == (other.seed, other.shots.seed) == (4, 4)
    assert same.search.elite_fraction == 0.5
    assert (other.search.population_size, other.search.per) == (6, "matrix")


def test_an_interval_spans_those_of_all_seeds():
    found = {"one": [Accuracy.of(60, 100)], "two": [Accuracy.of(40, 100), Accuracy.of(60, 100)]}
    lines = markdown(found).splitlines()
    assert lines[2] == "| one | 60.0 | - | 50.2 to 69.1 |"
    assert lines[3] == "| two | 50.0 | 40.0, 60.0 | 30.9 to 69.1 |"


def test_experts_that_are_not_there_are_told(tmp_path, monkeypatch):
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(mixes)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExpertError, match="Train one: rlpeft train quickstart"):
        CliRunner().invoke(app, ["tiny-mix"], catch_exceptions=False)
