"""`rlpeft study`: what a person reads of one."""

import json

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.recipes import STUDIES, read_study, recipe_names
from jobs.studies.cells import Cells
from jobs.studies.figures import tables

STUDY = """
name = "small"
claim = "SVF at all is better than its base."
recipe = "quickstart"
set = ["train.steps=1", "train.prompts_per_step=2", "train.group_size=2", "task.num_validation=4",
       "task.num_test=6"]
axes.adapter.svf = []
seeds = [0]
contrast = [{ of = { adapter = "svf" }, against = "base" }]
"""


def study(*arguments):
    return CliRunner().invoke(app, ["study", *map(str, arguments)])


@pytest.mark.slow
def test_a_study_is_run_told_and_shown_again(tmp_path):
    (tmp_path / "small.toml").write_text(STUDY)
    ran = study("run", tmp_path / "small.toml", "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    assert "1/1 svf seed 0: validation " in ran.output
    assert "| svf less base |" in ran.output
    assert (tmp_path / "out" / "report.html").is_file()
    shown = study("show", tmp_path / "out").output
    assert "SVF at all is better than its base." in shown
    assert "one seed: intervals hold for it alone" in " ".join(shown.split())
    figures = json.loads(study("show", tmp_path / "out", "--json").output)
    assert figures["arms"]["svf"]["place"] == {"adapter": "svf"}


def test_a_folder_without_a_study_says_how_to_make_one(tmp_path):
    shown = study("show", tmp_path)
    assert shown.exit_code == 1
    assert "Run the study first" in " ".join(shown.output.split())


@pytest.mark.parametrize("text", ["{}", '{"study": []}', '{"study": {"claim": 1}, "arms": {}}'])
def test_a_damaged_study_is_one_line(tmp_path, text):
    (tmp_path / "study.json").write_text(text)
    shown = study("show", tmp_path)
    assert shown.exit_code == 1
    assert "must hold what `rlpeft study run` writes" in " ".join(shown.output.split())


def test_the_packaged_ones_are_listed_with_their_claims():
    listed = " ".join(study("list").output.split())
    for name in recipe_names(STUDIES):
        assert f"{name}: {' '.join(read_study(name).claim.split())}" in listed


RESULTS = sorted(STUDIES.glob("*.json"))
"""Of packaged studies that were run."""


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_are_of_the_study_as_it_is_and_stand_in_a_page(path):
    found = json.loads(path.read_text())
    assert found["study"] == read_study(path.stem).model_dump(mode="json")
    root = STUDIES.parents[2]
    pages = [
        page.read_text()
        for page in (*root.glob("rlpeft/*/README.md"), *root.glob("jobs/*/README.md"))
    ]
    assert any(tables(found) in page for page in pages)


@pytest.mark.parametrize("name", recipe_names(STUDIES))
def test_every_cell_of_a_packaged_one_is_a_recipe(name):
    assert read_study(name).name == name
    Cells(read_study(name))


def test_a_plan_counts_the_runs_of_each_arm():
    planned = " ".join(study("plan", "tiny-adapters").output.split())
    assert "lora: 6 settings with seed 0, the best with 3 seeds in all" in planned
    assert planned.endswith("32 runs of quickstart")


def test_a_plan_refuses_what_would_not_run(tmp_path):
    (tmp_path / "small.toml").write_text(STUDY.replace("train.steps", "train.stepps"))
    planned = study("plan", tmp_path / "small.toml")
    assert planned.exit_code == 1
    assert "stepps" in planned.output


def test_a_recipe_of_another_command_is_told():
    result = study("run", "quickstart")
    assert result.exit_code == 1
    assert "rlpeft train quickstart" in " ".join(result.output.split())
