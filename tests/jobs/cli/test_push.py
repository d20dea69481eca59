"""`rlpeft push` and `--push`: a push that fails loses nothing, and says how to push again."""

import json
import shlex

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from jobs.cli import app
from rlpeft.experts.files import load_expert
from rlpeft.experts.hub import resolve_expert


def rlpeft(*words, code=0):
    """Run a command: what it printed, and what it told."""
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


@pytest.fixture
def writer(hub):
    """The fake of the Hub, for one who may write below `ann` and `org`."""
    hub.login("hf_writer")
    return hub


@pytest.fixture
def trained(quick, tmp_path):
    """A recipe that trains in a second, and the run folder, as words of `rlpeft train`."""
    recipe = quick(train={"steps": 1, "eval_every": 1})
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    return "train", tmp_path / "recipe.json", "--local", "--out", tmp_path / "run"


def test_push_says_what_it_pushed_and_how_it_is_loaded(writer, tiny_experts):
    shown, told = rlpeft("push", tiny_experts / "up", "org/up")
    commit = writer.repos["org/up"].branches["main"]
    assert f"\n  {writer.endpoint}/org/up/commit/{commit}\n" in shown
    assert f"experts show org/up@{commit}" in shown
    assert "the base model has no name that others can resolve" in told


def test_push_prints_one_json_document(writer, tiny_experts):
    shown, _ = rlpeft("push", tiny_experts / "up", "org/up", "--private", "--json")
    assert json.loads(shown)["commit"] == writer.repos["org/up"].branches["main"]
    assert writer.repos["org/up"].private


@pytest.mark.slow
def test_what_is_on_the_hub_may_be_pushed_on(writer, tiny_experts):
    rlpeft("push", tiny_experts / "up", "org/up")
    rlpeft("push", "org/up", "ann/up", "--revision", "copy")
    commit = writer.repos["org/up"].branches["main"]
    files = writer.repos["ann/up"].commits[writer.repos["ann/up"].branches["copy"]]
    assert json.loads(files["export.json"])["source"] == f"org/up@{commit}"


@pytest.mark.parametrize("command", ["train", "sft", "adapt"])
def test_commands_that_make_an_expert_can_push_it(command):
    options = {name for p in get_command(app).commands[command].params for name in p.opts}
    assert "--push" in options


@pytest.mark.slow
def test_a_run_pushes_its_expert_when_it_is_done(writer, trained, tmp_path):
    shown, told = rlpeft(*trained, "--push", "org/quick", "--json")
    pushed = json.loads(shown)["pushed"]
    found, _ = resolve_expert(f"org/quick@{pushed['commit']}")
    assert load_expert(found).card == load_expert(tmp_path / "run" / "expert").card
    assert f"\n  {pushed['url']}\n" in told
    readme = writer.repos["org/quick"].commits[pushed["commit"]]["README.md"].decode()
    assert "| step | validation | from | to | reward |" in readme


@pytest.mark.slow
def test_a_push_that_fails_leaves_the_run_whole_and_says_how_to_push_again(writer, trained):
    writer.full = True
    shown, told = rlpeft(*trained, "--push", "org/quick", "--json", code=1)
    summary = json.loads(shown)
    assert "pushed" not in summary
    [error] = [line for line in told.splitlines() if line.startswith("error:")]
    assert "is too large for the Hub (status 413). The run is done and whole" in error
    again = shlex.split(error.split("to push again: ")[1])
    writer.full = False
    rlpeft(*again[1:])
    assert load_expert(resolve_expert("org/quick")[0]).card.digest == summary["digest"]


@pytest.mark.parametrize("command", ["train", "sft", "adapt"])
def test_what_would_refuse_the_push_is_told_before_the_run(hub, command, tmp_path):
    recipe = "tiny-mix" if command == "adapt" else "quickstart"
    out = tmp_path / "run"
    for repository, said in {"quick": "ORG/NAME", "org/quick": "needs a token"}.items():
        _, told = rlpeft(command, recipe, "--out", out, "--push", repository, code=1)
        assert said in told
        assert not out.exists()


@pytest.mark.slow
def test_a_search_pushes_its_mixture(writer, adapt_recipe, tmp_path):
    (tmp_path / "recipe.json").write_text(adapt_recipe().model_dump_json())
    words = ("adapt", tmp_path / "recipe.json", "--out", tmp_path / "run", "--push", "org/mix")
    shown, _ = rlpeft(*words, "--json")
    commit = json.loads(shown)["pushed"]["commit"]
    assert load_expert(resolve_expert(f"org/mix@{commit}")[0]).card.mixture is not None
    readme = writer.repos["org/mix"].commits[commit]["README.md"].decode()
    assert "| iteration | best on the shots | mean |" in readme
