"""Commands of ours, as they can be typed where the shell does not find them."""

import sys
from pathlib import Path

import pytest

from rlpeft.typed import MENTIONED, program, this_command, typeable, without


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An environment in the working folder, not on the PATH."""
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "rlpeft").write_text("#!/bin/sh\n")
    (folder / "rlpeft").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_command_that_the_shell_finds_is_called_by_its_name(environment, monkeypatch):
    monkeypatch.setenv("PATH", str(environment))
    assert program() == "rlpeft"


def test_before_an_environment_is_active_its_path_is_part_of_the_command(environment):
    assert program() == ".venv/bin/rlpeft"
    assert typeable("Run: rlpeft models fetch x") == "Run: .venv/bin/rlpeft models fetch x"


def test_from_another_folder_the_path_is_whole(environment, monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert program() == str(environment / "rlpeft")


def test_the_rlpeft_of_another_environment_is_not_ours(environment, monkeypatch, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "rlpeft").write_text("#!/bin/sh\n")
    (other / "rlpeft").chmod(0o755)
    monkeypatch.setenv("PATH", str(other))
    assert program() == ".venv/bin/rlpeft"


@pytest.mark.parametrize("text", ["runs/rlpeft train", "the rlpeft plugin", "my-rlpeft doctor"])
def test_what_is_no_command_of_ours_stays(environment, text):
    assert typeable(text) == text


def test_every_command_is_known_when_it_is_mentioned():
    from typer.main import get_command

    from jobs.cli import app

    for name in get_command(app).commands:
        assert MENTIONED.search(f"Run: rlpeft {name} X"), name


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        ([".venv/bin/rlpeft", "train", "a b.toml"], ".venv/bin/rlpeft train 'a b.toml'"),
        (["/lib/jobs/train.py", "quickstart"], "python -m jobs.train quickstart"),
    ],
)
def test_the_command_that_runs_can_be_typed_again(environment, arguments, typed):
    assert this_command(arguments) == typed
    assert Path(".venv/bin/rlpeft").is_file()


@pytest.mark.parametrize("out", [["--out", "runs/a"], ["--out=runs/a"], []])
def test_a_command_is_made_anew_with_another_value_of_an_option(environment, out):
    given = without("--out", ["rlpeft", "adapt", *out, "mix", "--set", "seed=1"])
    assert this_command(given).endswith("rlpeft adapt mix --set seed=1")
