"""What `rlpeft evaluate` takes from an expert's card."""

import re

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.evaluate import evaluate_expert
from jobs.evaluation.asked import open_survey
from jobs.exams import Samples, recipe_for
from rlpeft.build import build_card
from rlpeft.errors import ConfigError, DataError
from rlpeft.files import write_json
from rlpeft.program.rows_of_run import keep_trained_on, unseen
from rlpeft.tasks.catalogue import load_task


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rollout", "stop"), [({}, ["3"]), ({"stop": ["1", "4"]}, ["1", "4"]), ({"stop": []}, [])]
)
def test_an_expert_ends_where_it_was_trained_to_unless_the_recipe_says_where(
    quick, tiny, tiny_start, make_expert, rollout, stop
):
    trained, state = quick(rollout={"stop": ["3"]}), tiny_start
    card = build_card(trained, tiny)
    assert card.stop == ("3",)
    fields = card.model_dump(exclude={"name", "digest", "step"})
    folder = make_expert("e", state.tensors, config=dict(state.config), **fields)
    found = evaluate_expert(folder, quick(rollout=rollout), num=2)
    assert found["stop"] == stop


def test_several_engines_are_one_in_this_process_which_is_said(
    quick, tiny, tiny_start, make_expert, capsys
):
    state, card = tiny_start, build_card(quick(), tiny)
    fields = card.model_dump(exclude={"name", "digest", "step"})
    folder = make_expert("many", state.tensors, config=dict(state.config), **fields)
    evaluate_expert(folder, quick(rollout={"num_engines": 3}), num=1)
    assert "rollout.num_engines = 3 is for Ray" in capsys.readouterr().err


@pytest.mark.parametrize(
    "override", ["rollout.temperature=0.7", "adapter.type=lora", "adapter={}", "loss.kl=0.1"]
)
def test_what_an_evaluation_never_reads_is_refused(make_expert, override):
    folder = make_expert("unread", {})
    with pytest.raises(ConfigError, match="must name what an evaluation reads"):
        recipe_for(folder, "quickstart", None, [override])


@pytest.fixture
def trained(quick, tiny, tiny_start, make_expert, tmp_path):
    """The expert of a run on one file, of which it keeps 2 rows for validation and 3 for its test;
    and a maker of other files."""

    def rows(name, number):
        path = tmp_path / name
        path.write_text("".join(f'{{"prompt": "{n}@=", "answer": "1"}}\n' for n in number))
        return str(path)

    task = {
        "name": "jsonl",
        "path": rows("rows.jsonl", range(10, 20)),
        "num_validation": 2,
        "num_test": 3,
    }
    recipe = quick(task=task)
    fields = build_card(recipe, tiny).model_dump(exclude={"name", "digest", "step"})
    folder, run = tmp_path / "run" / "expert", tmp_path / "run"
    make_expert("own", tiny_start.tensors, folder=folder, config=dict(tiny_start.config), **fields)
    write_json(run / "recipe.json", recipe.model_dump(mode="json"))
    keep_trained_on(run, load_task(recipe.task).split("train"), before=[])
    return folder, rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "number"), [([], 6), (["task.num_test=2"], 2), (["task.num_validation=1"], 6)]
)
def test_a_file_for_evaluation_alone_is_asked_whole_unless_a_number_is_given(
    trained, changes, number
):
    expert, rows = trained
    changes = [f"task.path={rows('test.jsonl', range(30, 36))}", *changes]
    found = evaluate_expert(expert, recipe_for(expert, None, None, changes))
    assert found["accuracy"]["total"] == number


def test_rows_of_the_training_by_their_name_are_divided_as_they_were(trained):
    expert, rows = trained
    changes = [f"task.path={rows('rows.jsonl', range(10, 20))}"]
    assert recipe_for(expert, None, None, changes).task.num_test == 3


def test_problems_that_a_number_leaves_unasked_are_told_before_any_is_asked(trained, capsys):
    expert, rows = trained
    path = f"task.path={rows('test.jsonl', range(30, 36))}"
    evaluate_expert(expert, recipe_for(expert, None, None, [path, "task.num_test=2"]))
    said = " ".join(capsys.readouterr().err.split())
    assert "task.num_test asks 2 of the 6 test problems of" in said
    assert "all of them by --set task.num_test=all" in said


def test_the_unseen_of_rows_are_asked_where_others_were_trained_on(trained, capsys):
    expert, rows = trained
    path = f"task.path={rows('more.jsonl', range(10, 26))}"
    recipe = recipe_for(expert, None, None, [path])
    with pytest.raises(
        DataError, match="or ask those alone that no expert has seen: rlpeft evaluate"
    ):
        evaluate_expert(expert, recipe)
    found = evaluate_expert(expert, recipe, unseen=True)
    assert found["accuracy"]["total"] == 11  # 5 of 10 rows were trained on
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"5 of the 16 test problems of '.*more.jsonl' were trained on", said)


@pytest.mark.slow
def test_a_judge_that_changed_since_the_training_is_told_of_one_and_of_several(
    trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    code = "def judge(completions, **_):\n    return [1.0 for _ in completions]\n"
    (tmp_path / "judge_since.py").write_text(code)
    run = trained[0].parent
    write_json(run / "fingerprint.json", {"reward_code": {"judge_since:judge": "0" * 64}})
    recipe = recipe_for(trained[0], None, None, ["reward=[{name = 'judge_since:judge'}]"])
    evaluate_expert(trained[0], recipe, num=1)
    told = "the code of reward 'judge_since:judge' differs from that of the training"
    assert told in " ".join(capsys.readouterr().err.split())
    with open_survey([trained[0]], [recipe], Samples()) as survey:
        assert told in " ".join(survey.notes)


@pytest.mark.parametrize("several", [False, True])
def test_nothing_is_told_of_an_evaluation_that_is_refused(trained, several, monkeypatch, capsys):
    """Neither "figures are by today's code" nor how many problems are asked: none is."""
    expert, rows = trained
    monkeypatch.chdir(expert.parent)
    (expert.parent / "judge_of_none.py").write_text("def judge(completions, **_):\n    return []\n")
    write_json(expert.parent / "fingerprint.json", {"reward_code": {"judge_of_none:judge": "0"}})
    path = f"task.path={rows('seen.jsonl', range(10, 26))}"
    judge = "reward=[{name = 'judge_of_none:judge'}]"
    recipe = recipe_for(expert, None, None, [path, "task.num_test=12", judge])
    survey = open_survey([expert], [recipe], Samples())
    with pytest.raises(DataError, match="were in the training"):
        survey.__enter__() if several else evaluate_expert(expert, recipe)
    assert capsys.readouterr().err == ""


def test_where_all_was_trained_on_nothing_unseen_is_left(trained, tmp_path):
    problems = load_task(recipe_for(trained[0], None, None, ()).task).split("train")
    with pytest.raises(DataError, match="all 5 test problems were in the training"):
        unseen([trained[0]], problems, "test")


@pytest.mark.slow
def test_an_expert_that_is_its_base_is_told_as_that(quick, tiny, tiny_start, make_expert, tmp_path):
    fields = build_card(quick(), tiny).model_dump(exclude={"name", "digest", "step"})
    fields |= {"config": dict(tiny_start.config), "equals_base": True}
    folder = make_expert("same", tiny_start.tensors, folder=tmp_path / "run" / "expert", **fields)
    write_json(tmp_path / "run" / "recipe.json", quick().model_dump(mode="json"))
    told = CliRunner().invoke(app, ["evaluate", str(folder), "--num", "2"])
    assert "The expert is the base itself: they differ in nothing." in told.output
    assert "less its base" not in told.output
