"""No problem that may have been trained on is taken for a test once the rows have changed."""

import json
import re

import pytest

from jobs.adapt import read_inputs
from jobs.evaluate import evaluate_expert, recipe_for
from jobs.evaluation.asked import Samples, open_survey
from rlpeft.build import build_card
from rlpeft.errors import DataError
from rlpeft.experts.steps import step_folder
from rlpeft.files import write_json
from rlpeft.tasks.catalogue import load_task


def write_rows(path, number):
    rows = [json.dumps({"prompt": f"swap {n:02d}", "answer": f"{n:02d}"[::-1]}) for n in number]
    path.write_text("\n".join(rows))


@pytest.fixture
def trained(quick, tiny, tiny_start, make_expert, tmp_path):
    """A run's folder and the recipe of it, whose 40 rows lie in one file."""
    rows, run = tmp_path / "rows.jsonl", tmp_path / "run"
    write_rows(rows, range(40))
    task = {"name": "jsonl", "path": str(rows), "num_validation": 4, "num_test": 8}
    recipe = quick(task=task)
    fields = build_card(recipe, tiny).model_dump(exclude={"name", "digest", "step"})
    for folder in (run / "expert", step_folder(run, 4)):
        make_expert(
            "own", tiny_start.tensors, folder=folder, config=dict(tiny_start.config), **fields
        )
    write_json(run / "fingerprint.json", {"data": load_task(recipe.task).fingerprint()})
    write_json(run / "recipe.json", recipe.model_dump(mode="json"))
    return run, recipe


def test_a_step_of_a_run_is_evaluated_by_its_recipe_on_rows_as_they_were(trained):
    run, recipe = trained
    assert recipe_for(step_folder(run, 4), None, None, ()).task == recipe.task
    assert evaluate_expert(step_folder(run, 4), recipe, num=2)["split"] == "test"


@pytest.mark.parametrize("where", ["expert", "steps/step_00000004"])
def test_rows_that_have_grown_since_the_training_are_refused(trained, where):
    run, recipe = trained
    write_rows(run.parent / "rows.jsonl", range(60))
    with pytest.raises(DataError, match=re.escape("--set task.path=FILE")):
        evaluate_expert(run / where, recipe)
    survey = open_survey([run / where], [recipe], Samples())
    with pytest.raises(DataError, match="have changed since"), survey:
        pass


def test_another_division_of_the_rows_is_refused(trained):
    run, _ = trained
    other = recipe_for(run / "expert", None, None, ["task.num_test=9"])
    with pytest.raises(DataError, match="have changed since"):
        evaluate_expert(run / "expert", other)


def test_rows_of_another_name_are_tested_whole(trained):
    run, _ = trained
    write_rows(run.parent / "new.jsonl", range(60, 66))
    path = f"task.path={run.parent / 'new.jsonl'}"
    found = evaluate_expert(run / "expert", recipe_for(run / "expert", None, None, [path]))
    assert found["accuracy"]["total"] == 6


def test_an_expert_without_its_run_cannot_tell_which_is_said(trained, capsys):
    run, recipe = trained
    (run / "fingerprint.json").unlink()
    evaluate_expert(run / "expert", recipe, num=1)
    assert "lies in no folder of a run" in " ".join(capsys.readouterr().err.split())


def test_a_search_is_not_judged_by_rows_that_its_experts_were_trained_on(trained, adapt_recipe):
    run, recipe = trained
    task = recipe.task.model_dump(exclude_defaults=True)
    searched = adapt_recipe(experts=[str(run / "expert")], task=task)
    read_inputs(searched)
    write_rows(run.parent / "rows.jsonl", range(60))
    with pytest.raises(DataError, match="have changed since"):
        read_inputs(searched)
