"""A run that is brought back: what it was there, or nothing."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cluster import run_files as carried
from jobs.cluster.run_files import RunFile, read_part, refuse_hostile, run_files, write_file
from rlpeft.errors import ClusterError, FileError
from rlpeft.program.folder import lone_run
from rlpeft.runs.driver import LOCK_FILE


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A run's folder with a file of three parts, and what a killed process left."""
    monkeypatch.setattr(carried, "PART", 4)
    folder = tmp_path / "there"
    for name, content in {"a/b.bin": b"0123456789", "empty": b"", ".partial.x": b"half"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_files_come_in_parts_and_are_what_they_were(there, tmp_path):
    files = run_files(str(there))
    assert [(file.name, file.size) for file in files] == [("a/b.bin", 10), ("empty", 0)]
    for file in files:
        write_file(
            tmp_path / "here", file, lambda at, name=file.name: read_part(str(there), name, at)
        )
    assert (tmp_path / "here" / "a" / "b.bin").read_bytes() == b"0123456789"
    assert (tmp_path / "here" / "empty").read_bytes() == b""
    assert len(read_part(str(there), "a/b.bin", 0)) == 4


@pytest.mark.parametrize("content", [b"0123456788", b"01234", b""])
def test_a_file_that_is_not_what_was_listed_is_refused(tmp_path, content):
    file = RunFile("x", 10, hashlib.sha256(b"0123456789").hexdigest())
    with pytest.raises(ClusterError, match="'x' did not"):
        write_file(tmp_path, file, lambda at: content[at : at + carried.PART])


@pytest.mark.parametrize(
    "name", ["", "/etc/x", "../x", "a/../x", "a//x", "./x", "a/", "a\\x", "a\nb", "a\x1b[0m"]
)
def test_a_name_that_is_no_plain_path_is_refused(name):
    with pytest.raises(ClusterError, match="must have plain names"):
        refuse_hostile([RunFile(name, 1, "")], "run")


def test_two_files_of_one_name_are_refused_and_too_many(monkeypatch):
    with pytest.raises(ClusterError, match="each its own"):
        refuse_hostile([RunFile("a", 1, "")] * 2, "run")
    monkeypatch.setattr(carried, "MOST_FILES", 1)
    with pytest.raises(ClusterError, match="at most 1 files"):
        refuse_hostile([RunFile("a", 1, ""), RunFile("b", 1, "")], "run")


def test_a_link_out_of_the_folder_is_refused(there, tmp_path):
    (there / "link").symlink_to(tmp_path)
    with pytest.raises(FileError, match="files and folders alone"):
        run_files(str(there))


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileError, match="it is not: the job ended before it began one"):
        run_files(str(tmp_path / "none"))


def test_a_run_that_goes_on_is_not_read(tmp_path):
    run = tmp_path / "run"
    with lone_run(run), pytest.raises(FileError, match="another driver is at work"):
        run_files(str(run))
    assert [file.name for file in run_files(str(run))] == [LOCK_FILE]


# --- on a cluster --------------------------------------------------------------------------------

RECIPE = """
name = "sent"
model.name = "tiny"
task = { path = "data/rows.jsonl", num_validation = 8, num_test = 8 }
rollout.max_tokens = 6
reward = [{ name = "own:same" }]
train = { steps = 2, prompts_per_step = 4, eval_every = 2, report_to = [] }
sft.micro_batch = 4
"""
REWARD = """
import os

def same(completions, answer, **columns):
    assert os.environ["SENT"] == "as it is"
    return [text.strip() == gold for text, gold in zip(completions, answer)]
"""


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """A working folder with a recipe, a reward, and data that git would ignore."""
    folder = tmp_path / "sent"
    (folder / "data").mkdir(parents=True)
    rows = [{"prompt": f"{n}@=", "answer": str(n)[2:] + str(n)[:2]} for n in range(1111, 1151)]
    (folder / "data" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / ".gitignore").write_text("data/\n")
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "own.py").write_text(REWARD)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SENT", "as it is")
    return folder


def told(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr.strip().splitlines()[-1]


@pytest.mark.ray
@pytest.mark.slow
def test_what_is_sent_with_its_folder_and_variables_comes_back_and_is_evaluated(
    cluster, sent, tmp_path
):
    out, at = tmp_path / "there", ["--address", cluster["dashboard"]]
    along = [*at, "--working-dir", ".", "--env", "SENT", "--retries", 0, "--json"]
    job = json.loads(told("submit", "sft", "recipe.toml", "--out", out, *along))["id"]
    assert "must have ended" in told("fetch", job, *at, "--to", tmp_path / "here", code=1)
    told("logs", job, "--follow", *at)
    fetched = json.loads(told("fetch", job, *at, "--to", tmp_path / "here", "--json"))
    assert fetched["files"] == len(run_files(str(out))) > 5
    assert run_files(str(tmp_path / "here")) == run_files(str(out))
    assert "neither" in told("fetch", job, *at, "--to", tmp_path / "here", code=1)

    exam = ["evaluate", out / "expert", "--recipe", "recipe.toml", "--num", 4]
    asked = json.loads(told("submit", *exam, *along))
    assert asked["out"] is None
    assert "of 4" in told("logs", asked["id"], "--follow", *at)
    assert "keeps none" in told("fetch", asked["id"], *at, code=1)
    assert "is not: it was sent to another" in told("fetch", "nobody", *at, code=1)

    known = {each["id"]: each for each in json.loads(told("jobs", "list", *at, "--json"))}
    assert known[job]["command"] == "sft recipe.toml"
    assert known[job]["out"] == str(out)
    shown = told("jobs", "list", *at)
    assert f"{job}  SUCCEEDED since 20" in shown
    assert f"\n  {out}\n" in shown
    assert "as it is" not in shown
