"""`rlpeft train` of several experts, as a person types it."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from jobs.cli import app

SIZES = {"num_validation": 4, "num_test": 4}
TREE = {
    "name": "both",
    "model": {"name": "tiny"},
    "reward": [{"name": "exact"}],
    "rollout": {"max_tokens": 6},
    "train": {"steps": 1, "prompts_per_step": 2, "group_size": 2, "report_to": []},
    "expert": [
        {"name": "swap", "task": {"name": "tiny/swap", **SIZES}},
        {"name": "sort", "task": {"name": "tiny/sort", **SIZES}},
    ],
}


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "both.json"
    path.write_text(json.dumps(TREE))
    return path


def train(recipe, *arguments):
    return CliRunner().invoke(app, ["train", str(recipe), "--local", *map(str, arguments)])


@pytest.mark.slow
def test_each_is_shown_and_kept_in_its_own_folder_and_a_finished_one_is_left_alone(
    recipe, tmp_path
):
    out = tmp_path / "out"
    mirror = "--mirror", f"file://{tmp_path}/far"
    first = train(recipe, "--out", out, "--json", *mirror)
    assert "swap: step 1/1" in first.stderr
    assert "sort: step 1/1" in first.stderr
    assert "swap: Validating what training begins with, on 4 problems." in first.stderr
    assert "sort: Testing the expert and its base model on 4 problems." in first.stderr
    found = json.loads(first.stdout)
    assert [*found] == ["swap", "sort"]
    for name, summary in found.items():
        assert summary["expert"] == str(out / name / "expert")
        assert (out / name / "report.html").is_file()
    (out / "sort/summary.json").unlink()
    again = train(recipe, "--out", out)
    assert again.stderr.count("nothing ran") == 1
    assert "both: 1 expert, sort." in again.stderr.replace("\n", " ")
    assert again.stdout.index("\nswap\n") < again.stdout.index("\nsort\n")
    assert "rlpeft report" in again.stdout
    shutil.rmtree(out)
    brought_back = train(recipe, "--out", out, *mirror)
    assert brought_back.stderr.count("nothing ran") == 2
    assert json.loads((out / "swap/summary.json").read_text())["name"] == "swap"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--show", "2"), "--show is for a recipe of one expert"),
        (("--push", "a/b"), "--push is for a recipe of one expert"),
        (("--data", "rows.jsonl"), "--data cannot be given with a recipe of several"),
        (("--reward", "math"), "--reward cannot be given with a recipe of several"),
    ],
)
def test_flags_of_one_expert_are_refused(recipe, tmp_path, arguments, said):
    result = train(recipe, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 1
    assert said in result.stderr


@pytest.mark.parametrize(
    ("file", "said"),
    [("fingerprint.json", "is the run of one"), ("notes.txt", "holds notes.txt")],
)
def test_a_folder_of_something_else_is_refused(recipe, tmp_path, file, said):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / file).write_text("{}")
    result = train(recipe, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert said in result.stderr


def test_an_expert_is_not_called_as_a_file_of_a_run(recipe, tmp_path):
    named = {"name": "fingerprint.json", "task": {"name": "tiny/swap", **SIZES}}
    recipe.write_text(json.dumps({**TREE, "expert": [*TREE["expert"], named]}))
    result = train(recipe, "--out", tmp_path / "out")
    assert "must be no file's of a run, 'fingerprint.json' is one" in result.stderr
    assert "Loading" not in result.stderr


@pytest.mark.slow
def test_doctor_looks_at_each_and_counts_memory_once(recipe):
    result = CliRunner().invoke(app, ["doctor", str(recipe), "--json"])
    names = [check["name"] for check in json.loads(result.stdout)["checks"]]
    assert [name for name in names if name.startswith("memory")] == ["memory (all)"]
    assert {"base model (swap)", "base model (sort)"} <= {*names}


def test_a_reward_of_ones_own_that_is_not_there_is_told_before_libraries_are_loaded(
    recipe, tmp_path
):
    lacking = {"name": "lost", "task": {"name": "tiny/swap"}, "reward": [{"name": "nowhere:judge"}]}
    recipe.write_text(json.dumps({**TREE, "expert": [*TREE["expert"], lacking]}))
    found = train(recipe, "--out", tmp_path / "out")
    assert "no module 'nowhere'" in found.stderr
    assert "Loading" not in found.stderr
