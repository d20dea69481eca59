"""What `rlpeft new` writes works as it is, and never takes the place of anything."""

import json
import shlex
import sys

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cli.new import NEXT, TaskKind
from jobs.recipes import read_recipe
from jobs.recipes.start import STARTS
from rlpeft.tasks.catalogue import load_task

KINDS = [kind.value for kind in TaskKind]
SHORT = {
    "task.num_validation": 2,
    "task.num_test": 2,
    "rollout.max_tokens": 8,
    "train.steps": 1,
    "train.prompts_per_step": 2,
    "train.group_size": 2,
}


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """What a command says, typed in a folder of its own, where rewards are looked up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])

    def typed(line):
        done = CliRunner().invoke(app, shlex.split(line))
        assert done.exit_code == 0, done.output
        return done.output

    return typed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:more than half of the completions")  # eight tokens are few
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_passes_the_doctor_and_trains(typed, tmp_path, monkeypatch, kind):
    typed(f"new work/my-start --kind {kind}")
    monkeypatch.chdir(tmp_path / "work" / "my-start")
    doctor, train = NEXT
    assert "nothing to mend" in typed(doctor)
    changes = " ".join(f"--set {key}={value}" for key, value in SHORT.items())
    summary = json.loads(typed(f"{train} {changes} --json").splitlines()[-1])
    assert summary["name"] == "my-start"
    assert summary["test"]["total"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_rows_fill_the_splits_of_their_recipe_and_none_is_there_twice(typed, monkeypatch, kind):
    typed(f"new a --kind {kind}")
    monkeypatch.chdir("a")
    recipe = read_recipe("recipe.toml")
    task = load_task(recipe.task)
    assert len(task.split("validation")) == recipe.task.num_validation
    assert len(task.split("test")) == recipe.task.num_test
    assert len(task.split("train")) >= 2 * recipe.train.prompts_per_step
    assert sum(task.left_out.values()) == 0


@pytest.mark.parametrize("there", ["a file", "a folder", "a link to nothing"])
def test_what_is_there_stays_as_it_is(tmp_path, monkeypatch, there):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "mine"
    {
        "a file": lambda: place.write_text("x"),
        "a folder": place.mkdir,
        "a link to nothing": lambda: place.symlink_to("nowhere"),
    }[there]()
    done = CliRunner().invoke(app, ["new", "mine"])
    assert done.exit_code == 1
    assert "error: NAME must be that of a new folder, 'mine' is there already" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert there != "a folder" or not list(place.iterdir())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rewards", "none of our packages"),
        (".hidden", "begin with no dot"),
        ("x" * 101, "at most 100 bytes"),
    ],
)
def test_a_name_that_no_recipe_or_folder_may_have_is_refused(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["new", name])
    assert done.exit_code == 1
    assert said in done.output
    assert not list(tmp_path.iterdir())


def test_the_commands_that_come_next_are_said(typed, tmp_path, monkeypatch):
    monkeypatch.setattr("rlpeft.typed.program", lambda: "rlpeft")
    said = typed("new 'my start' --model OWNER/NAME").splitlines()
    assert said[0] == "my start: my_reward.py, recipe.toml, rows/test.jsonl, rows/train.jsonl"
    assert [line.strip() for line in said[-3:]] == ["cd 'my start'", *(f"rlpeft {n}" for n in NEXT)]
    text = (tmp_path / "my start" / "recipe.toml").read_text()
    assert 'name = "my start"' in text
    assert 'name = "OWNER/NAME"' in text


def test_a_model_in_a_folder_is_found_from_the_new_one(typed, tmp_path):
    (tmp_path / "base").mkdir()
    typed("new a --model base")
    assert f'name = "{tmp_path / "base"}"' in (tmp_path / "a" / "recipe.toml").read_text()


def test_each_kind_has_a_start_and_each_start_a_kind():
    assert sorted(path.name for path in STARTS.iterdir()) == sorted(KINDS)
