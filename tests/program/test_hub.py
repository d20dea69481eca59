"""Commands and recipes take an expert of the Hub where they take a folder, and write its commit."""

import json

import pytest
from typer.testing import CliRunner

from jobs.adapt import run
from jobs.cem.client import absolute
from jobs.cli import app
from rlpeft.errors import CheckpointError
from rlpeft.experts.files import load_expert, read_card
from rlpeft.program.run import run as train_run


@pytest.fixture
def pushed(hub, tiny_experts):
    """The repository `org/up`, with one of the two experts."""
    files = {path.name: path.read_bytes() for path in (tiny_experts / "up").iterdir()}
    return hub.repo("org/up", files)


def rlpeft(*words, code=0):
    """Run a command: what it printed, and what it told."""
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def test_a_search_by_id_writes_the_commit_into_folder_and_card(pushed, adapt_recipe, tmp_path):
    run(adapt_recipe(experts=["org/up"]), tmp_path / "run")
    by_commit = [f"org/up@{pushed.branches['main']}"]
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["experts"] == by_commit
    assert read_card(tmp_path / "run" / "expert").mixture.search["experts"] == by_commit


@pytest.mark.slow
def test_a_search_goes_on_with_the_commit_that_it_began_with(pushed, adapt_recipe, tmp_path):
    first = run(adapt_recipe(experts=["org/up"]), tmp_path / "run")
    card = json.loads(pushed.commits[pushed.branches["main"]]["card.json"])
    pushed.commit({"card.json": json.dumps(card | {"name": "other"}).encode()})
    (tmp_path / "run" / "summary.json").unlink()
    assert run(adapt_recipe(experts=["org/up"]), tmp_path / "run") == first
    with pytest.raises(CheckpointError):
        run(adapt_recipe(experts=["org/up@main"]), tmp_path / "run")


@pytest.mark.slow
def test_a_search_of_folders_is_written_as_it_was(tiny_experts, adapt_recipe, tmp_path):
    run(adapt_recipe(), tmp_path / "run")
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["experts"] == [str(tiny_experts)]
    assert "experts" not in read_card(tmp_path / "run" / "expert").mixture.search


def test_the_service_is_given_an_id_as_it_is(pushed, adapt_recipe, tiny_experts, monkeypatch):
    monkeypatch.chdir(tiny_experts)
    recipe = absolute(adapt_recipe(experts=["org/up", "down"]))
    assert recipe.experts == ("org/up", str(tiny_experts / "down"))


def test_show_takes_an_id_and_says_its_commit(pushed):
    shown, told = rlpeft("experts", "show", "org/up", "--json")
    assert json.loads(shown)["card"]["name"] == "up"
    assert f"note: expert 'org/up@main' is commit {pushed.branches['main']}." in " ".join(
        told.split()
    )


def test_compare_calls_experts_by_their_commits(pushed, tiny_experts):
    shown, _ = rlpeft("experts", "compare", "org/up", tiny_experts / "down", "--json")
    [pair] = json.loads(shown)["pairs"]
    assert pair["first"] == f"org/up@{pushed.branches['main']}"


def test_transfer_writes_the_commit_and_never_into_the_cache(pushed, tmp_path):
    out = tmp_path / "out"
    rlpeft("experts", "transfer", "org/up", "--to", "tiny", "--out", out)
    assert read_card(out).transfer.source == f"org/up@{pushed.branches['main']}"
    _, told = rlpeft("experts", "transfer", "org/up", "--to", "tiny", code=1)
    assert "error: --out must be given for an expert of the Hub, 'org/up' is one." in " ".join(
        told.split()
    )


def test_export_takes_an_id(pushed, tmp_path, tiny_experts):
    rlpeft("export", "org/up", "--format", "peft", "--out", tmp_path / "out")
    receipt = json.loads((tmp_path / "out" / "export.json").read_text())
    assert receipt["source"] == f"org/up@{pushed.branches['main']}"
    assert load_expert(tmp_path / "out").card == load_expert(tiny_experts / "up").card


@pytest.mark.slow
def test_evaluate_names_the_commit_in_its_answer(pushed, quick, tmp_path):
    (tmp_path / "recipe.json").write_text(quick().model_dump_json())
    recipe = tmp_path / "recipe.json"
    shown, _ = rlpeft("evaluate", "org/up", "--recipe", recipe, "--num", 4, "--json")
    assert json.loads(shown)["expert"] == f"org/up@{pushed.branches['main']}"


def test_generate_answers_by_an_id(pushed):
    words = ("generate", "3714@=", "--experts", "org/up", "--strategy", "up", "--max-tokens", 6)
    shown, _ = rlpeft(*words, "--json")
    [answer] = json.loads(shown)["answers"]
    assert answer["expert"] == "up"


def test_a_command_tells_a_revision_that_is_gone_in_one_line(pushed):
    _, told = rlpeft("experts", "show", "org/up@v9", code=1)
    assert told.splitlines() == [
        "Reading org/up@v9. Loading libraries.",
        "error: expert 'org/up@v9' is gone from the Hub, or never was there. Name another branch, "
        "tag or commit.",
    ]


@pytest.mark.slow
def test_a_run_goes_on_from_an_id_and_writes_its_commit(pushed, quick, tmp_path):
    recipe = quick(
        model={"start": "org/up"},
        adapter={"type": "svf", "decomposition": "gram"},
        train={"steps": 1, "eval_every": 1},
    )
    train_run(recipe, tmp_path / "run")
    by_commit = f"org/up@{pushed.branches['main']}"
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["model"]["start"] == by_commit
    assert read_card(tmp_path / "run" / "expert").start.source == by_commit
