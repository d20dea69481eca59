"""No problem that may have been trained on is taken for a test once the rows have changed."""

import json

import pytest

from jobs.adapt import read_inputs
from jobs.evaluate import evaluate_expert
from jobs.evaluation.asked import open_survey
from jobs.exams import Samples, recipe_for
from rlpeft.build import build_card
from rlpeft.errors import DataError
from rlpeft.experts.files import read_card
from rlpeft.experts.steps import step_folder
from rlpeft.files import write_json
from rlpeft.program.rows_of_run import keep_trained_on, refuse_trained_on, tell_rows
from rlpeft.program.run import run as train
from rlpeft.recipe.run import TaskConfig
from rlpeft.runs.trained_on import marks_of, read_trained
from rlpeft.tasks.base import counts
from rlpeft.tasks.catalogue import load_task


def write_rows(path, number):
    rows = [json.dumps({"prompt": f"swap {n:02d}", "answer": f"{n:02d}"[::-1]}) for n in number]
    path.write_text("\n".join(rows))


def write_run(run, recipe, make_expert, base, start, kept=True):
    """A run's folder as training leaves it, of an expert that has not moved."""
    fields = build_card(recipe, base).model_dump(exclude={"name", "digest", "step"})
    for folder in (run / "expert", step_folder(run, 4)):
        make_expert("own", start.tensors, folder=folder, config=dict(start.config), **fields)
    task = load_task(recipe.task)
    write_json(run / "fingerprint.json", {"data": task.fingerprint()})
    write_json(run / "recipe.json", recipe.model_dump(mode="json"))
    if kept:
        keep_trained_on(run, task.split("train"), task.split("validation"), before=[])
    return run, recipe


@pytest.fixture
def trained(quick, tiny, tiny_start, make_expert, tmp_path):
    """A run's folder and the recipe of it, whose 40 rows lie in one file."""
    rows = tmp_path / "rows.jsonl"
    write_rows(rows, range(40))
    task = {"name": "jsonl", "path": str(rows), "num_validation": 4, "num_test": 8}
    return write_run(tmp_path / "run", quick(task=task), make_expert, tiny, tiny_start)


def told(capsys):
    return " ".join(capsys.readouterr().err.split())


def test_a_step_of_a_run_is_evaluated_by_its_recipe_on_rows_as_they_were(trained):
    run, recipe = trained
    assert recipe_for(step_folder(run, 4), None, None, ()).task == recipe.task
    assert evaluate_expert(step_folder(run, 4), recipe, num=2)["split"] == "test"


@pytest.mark.parametrize("where", ["expert", "steps/step_00000004"])
def test_rows_that_have_grown_since_the_training_are_refused(trained, where):
    run, recipe = trained
    write_rows(run.parent / "rows.jsonl", range(60))
    with pytest.raises(DataError, match=r"of the 8 test problems .*, such as row [0-9]+, 'swap"):
        evaluate_expert(run / where, recipe)
    survey = open_survey([run / where], [recipe], Samples())
    with pytest.raises(DataError, match="were in the training of"), survey:
        pass


def test_another_division_of_the_rows_is_refused(trained):
    run, _ = trained
    other = recipe_for(run / "expert", None, None, ["task.options.seed=1"])
    with pytest.raises(DataError, match="were in the training of"):
        evaluate_expert(run / "expert", other)


@pytest.mark.parametrize("others", [{}, {"template": "Q: {prompt}\nA:"}, {"chat": True}])
def test_the_same_rows_under_another_name_are_known_again(trained, tmp_path, others):
    run, recipe = trained
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    copy = tmp_path / "copy.csv"
    copy.write_text("\n".join(["prompt,answer", *(f"{r['prompt']},{r['answer']}" for r in lines)]))
    task = recipe.task.model_copy(update={"path": str(copy), "options": others})
    with pytest.raises(DataError, match=r"[0-9] of the 8 test problems of '.*copy.csv'"):
        evaluate_expert(run / "expert", recipe.model_copy(update={"task": task}))


def test_marks_from_before_texts_were_folded_are_compared_and_said(trained):
    run, recipe = trained
    kept = json.loads((run / "trained_on.json").read_text())
    assert kept.pop("folded")
    task = load_task(recipe.task)
    asked = [run / "expert"], task, "test", task.split("test")
    assert not refuse_trained_on(*asked, path=recipe.task.path)
    write_json(run / "trained_on.json", kept)
    said = " ".join(refuse_trained_on(*asked, path=recipe.task.path))
    assert f"trained_on.json of {run / 'expert'} is from before" in said
    with pytest.raises(DataError, match="were in the training"):
        evaluate_expert(
            run / "expert", recipe_for(run / "expert", None, None, ["task.options.seed=1"])
        )


def test_problems_of_the_training_may_be_asked_by_name(trained):
    run, recipe = trained
    assert evaluate_expert(run / "expert", recipe, split="train", num=2)["split"] == "train"


def test_rows_of_another_name_are_tested_whole(trained):
    run, _ = trained
    write_rows(run.parent / "new.jsonl", range(60, 66))
    path = f"task.path={run.parent / 'new.jsonl'}"
    found = evaluate_expert(run / "expert", recipe_for(run / "expert", None, None, [path]))
    assert found["accuracy"]["total"] == 6


def test_a_few_rows_in_common_as_public_sets_have_are_told_and_not_refused(trained):
    run, recipe = trained
    row = next(p for p in load_task(recipe.task).split("train"))
    write_rows(run.parent / "new.jsonl", [int(row.answer[::-1]), *range(100, 200)])
    changes = [f"task.path={run.parent / 'new.jsonl'}", "task.num_test=200"]
    task = load_task(recipe_for(run / "expert", None, None, changes).task, only="test")
    asked = [run / "expert"], task, "test", task.split("test")
    said = " ".join(refuse_trained_on(*asked, path=recipe.task.path))
    assert "1 of the 101 test problems" in said
    assert "may be off by 0.99%" in said


def test_problems_that_an_expert_was_chosen_by_are_told(trained):
    run, recipe = trained
    task = load_task(recipe.task)
    chosen_by = task.split("validation")
    experts, path = [run / "expert"], recipe.task.path
    said = " ".join(refuse_trained_on(experts, task, "test", chosen_by, path=path))
    assert "4 of the 4 test problems of" in said
    assert f"those that the step of '{run / 'expert'}' was chosen by" in said
    assert not refuse_trained_on(experts, task, "validation", chosen_by, path=path)


def test_a_generated_task_that_is_dealt_anew_is_refused(
    quick, tiny, tiny_start, make_expert, tmp_path
):
    task = {"name": "arithmetic", "options": {"num_shots": 0, "num_train": 40}}
    recipe = quick(task=task | {"num_validation": 10, "num_test": 10})
    run, _ = write_run(tmp_path / "run", recipe, make_expert, tiny, tiny_start)
    seed = recipe_for(run / "expert", None, None, ["task.options.seed=1"])
    with pytest.raises(DataError, match=r"of the 10 test problems of 'arithmetic', such as '"):
        evaluate_expert(run / "expert", seed)


@pytest.mark.slow
@pytest.mark.parametrize("lacking", ["fingerprint.json", "trained_on.json"])
def test_an_expert_whose_run_kept_nothing_cannot_tell_which_is_said(trained, lacking, capsys):
    run, recipe = trained
    (run / "trained_on.json").unlink()
    (run / lacking).unlink(missing_ok=True)
    changed = recipe.model_copy(update={"task": recipe.task.model_copy(update={"num_test": 9})})
    for asked, is_said in ((recipe, lacking == "fingerprint.json"), (changed, True)):
        evaluate_expert(run / "expert", asked, num=1)
        assert ("cannot be told of" in told(capsys)) is is_said


def test_a_search_is_not_judged_by_rows_that_its_experts_were_trained_on(trained, adapt_recipe):
    run, recipe = trained
    task = recipe.task.model_dump(exclude_defaults=True)
    searched = adapt_recipe(experts=[str(run / "expert")], task=task)
    read_inputs(searched)
    write_rows(run.parent / "rows.jsonl", range(60))
    with pytest.raises(DataError, match="were in the training of"):
        read_inputs(searched)


def test_shots_that_experts_were_trained_on_are_told(trained, adapt_recipe):
    run, recipe = trained
    task = recipe.task.model_dump(exclude_defaults=True)
    found = read_inputs(adapt_recipe(experts=[str(run / "expert")], task=task))
    assert f"shots were in the training of {run / 'expert'}" in " ".join(found.notes)


def test_what_a_start_was_trained_on_is_of_the_training_that_goes_on_from_it(trained, tmp_path):
    run, recipe = trained
    write_rows(tmp_path / "more.jsonl", range(30, 60))
    grown = recipe.task.model_copy(update={"path": str(tmp_path / "more.jsonl")})
    model = recipe.model.model_copy(update={"start": str(run / "expert")})
    onward = recipe.model_copy(update={"task": grown, "model": model})
    with pytest.raises(DataError, match=r"of the 8 test problems of .*more.jsonl"):
        train(onward, tmp_path / "next")

    keep_trained_on(tmp_path / "next", load_task(grown).split("train"), before=[run / "expert"])
    both = [load_task(section).split("train") for section in (recipe.task, grown)]
    marks = frozenset().union(*(marks_of(problem) for problems in both for problem in problems))
    assert read_trained(tmp_path / "next").marks == marks


@pytest.mark.slow
def test_rows_that_weigh_more_than_others_are_told(tmp_path, capsys):
    rows = tmp_path / "rows"
    rows.mkdir()
    write_rows(rows / "train.jsonl", [1, 2, 2, 3, 3, 3, 10])
    write_rows(rows / "validation.jsonl", [4, 5, 10])
    write_rows(rows / "test.jsonl", [10, 11])
    sizes = {"num_validation": 9, "num_test": 9}
    task = load_task(TaskConfig(name="jsonl", path=str(rows), **sizes))

    tell_rows("rows", task)

    first, second = told(capsys).split(" note: ")
    assert "of 'rows' 3 train problems repeat the prompt and the gold of another" in first
    assert "of 'rows' 1 train and 1 validation problems are left out" in second
    expected = {"train": 6, "validation": 2, "test": 2, "repeat": 3, "left out": 2}
    assert counts([task]) == expected
    tell_rows("tiny/swap", load_task(TaskConfig(name="tiny/swap")))
    assert not told(capsys)


@pytest.mark.slow
def test_a_run_keeps_what_it_is_trained_on(quick, tmp_path):
    recipe = quick(train={"steps": 1})
    summary = train(recipe, tmp_path / "run")
    sizes = {"train": 4561, "validation": 8, "test": 8}
    assert summary["problems"] == read_card(tmp_path / "run" / "expert").problems == sizes
    train_split = load_task(recipe.task).split("train")
    kept = read_trained(tmp_path / "run")
    assert kept.marks == frozenset().union(*map(marks_of, train_split))
    chosen_by = load_task(recipe.task).split("validation")
    assert kept.chosen == frozenset().union(*map(marks_of, chosen_by))
    assert kept.untold == ()
