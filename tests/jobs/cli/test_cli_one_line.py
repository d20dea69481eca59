"""Whatever a command is given, it ends in one line where the mistake is the user's."""

import errno
import json
import os
import socket
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from jobs.cli import app
from rlpeft.files import describe


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


WRITERS = [
    (path, command)
    for path, command in commands(typer.main.get_command(app))
    if any(option.name == "out" for option in command.params) and path != ("submit",)
]
"""All that write to `--out` here; a submitted job does so on its cluster."""


def arguments(command):
    """A word for each argument, and for each option, that the command cannot do without."""
    for parameter in command.params:
        if parameter.required and parameter.name != "out":
            if parameter.param_type_name == "option":
                yield parameter.opts[0]
            yield {"format": "merged"}.get(parameter.name, "word")


def one_line(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    *begun, line = result.stderr.strip().splitlines()
    assert not any(other.startswith("error") for other in begun)
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(("path", "command"), WRITERS, ids=lambda value: str(value)[:40])
def test_an_impossible_out_is_refused_before_anything_else(path, command, tmp_path):
    (tmp_path / "file").touch()
    line = one_line(*path, *arguments(command), "--out", tmp_path / "file" / "out")
    assert str(tmp_path / "file") in line
    assert "part of that path is a file" in line


@pytest.mark.parametrize("command", ["train", "sft", "submit", "submit train"])
def test_an_object_store_is_no_place_for_a_run(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = one_line(*command.split(), "quickstart", "--out", "s3://bucket/run")
    assert "must lie on a file system" in line
    assert "got the URL 's3://bucket/run'" in line
    assert [*tmp_path.iterdir()] == []


def test_the_machines_state_is_told_and_a_defect_keeps_its_traceback():
    assert describe(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x"))
    assert describe(OSError("a defect")) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [("card.json", b"\xff"), ("card.json", b"[" * 100_000), ("adapter_config.json", b"[1]")],
)
def test_an_expert_that_cannot_be_read_is_named(tmp_path, make_expert, name, content):
    import torch

    folder = make_expert("x", {"base_model.model.a.svf_z": torch.ones(2)}, folder=tmp_path / "x")
    (folder / name).write_bytes(content)
    assert str(folder / name) in one_line("evaluate", folder, "--recipe", "quickstart")


def test_a_recipe_of_levels_without_end_is_one_line(tmp_path):
    (tmp_path / "deep.toml").write_text("x = " + "[" * 20_000)
    assert "too many levels" in one_line("train", tmp_path / "deep.toml", "--local")


def test_prompts_of_levels_without_end_are_one_line(tmp_path):
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    assert "deep.jsonl' line 1" in one_line("generate", "--file", tmp_path / "deep.jsonl")


def test_a_card_that_says_nothing_is_one_line(tmp_path):
    for name in ("card.json", "adapter_config.json"):
        (tmp_path / name).write_text("{}")
    line = one_line("evaluate", tmp_path, "--recipe", "quickstart")
    assert "card.json' cannot be read: name: Field required and 8 more." in line


def test_a_run_into_a_folder_of_something_else_is_one_line(tmp_path):
    (tmp_path / "card.json").write_text(json.dumps({}))
    line = one_line("train", "quickstart", "--local", "--out", tmp_path)
    assert "must be new or empty" in line


@pytest.mark.vllm
def test_a_port_that_another_server_has_is_one_line(tmp_path, make_expert):
    import torch

    pytest.importorskip("vllm")
    make_expert("x", {"base_model.model.a.svf_z": torch.ones(2)}, folder=tmp_path / "x")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = one_line("serve", "--port", port, "--experts", tmp_path)
        assert f"must be able to listen on port {port} of '127.0.0.1'" in line
        assert "another --port" in line


@pytest.mark.parametrize("command", [("reward", "score"), ("generate", "--file")])
def test_answers_are_not_written_over_what_they_answer(tmp_path, command):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"gold": "3", "prediction": "3", "prompt": "3714@="}))
    before = path.read_bytes()
    line = one_line(*command, path, "--out", tmp_path / "." / "rows.jsonl")
    assert "--out must not be the file that is read" in line
    assert path.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "sft"])
def test_a_model_that_is_not_fetched_is_told_before_libraries_are_loaded(command, tmp_path):
    code = (
        "import sys\nfrom jobs.cli import app\n"
        "try:\n    app()\nfinally:\n    print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    words = [command, "smollm2-mawps", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.strip()) == (1, "[]")
    assert done.stderr.count("\n") == 1
    assert "models fetch smollm2-135m" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "code"), [(["--address", "127.0.0.1:9"], 75), (["--push", "x"], 1)]
)
def test_a_job_ends_with_a_code_that_says_whether_it_may_be_tried_again(options, code, tmp_path):
    words = ["train", "quickstart", "--out", str(tmp_path / "run"), *options]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *words], capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
