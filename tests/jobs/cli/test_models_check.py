"""`rlpeft models check`: one table, one exit code, one line for what cannot be read."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from rlpeft.models.folder import resolve_model


def check(*arguments):
    return CliRunner().invoke(app, ["models", "check", *map(str, arguments)])


def test_the_table_says_what_holds():
    result = check("tiny", "--tokenizer-only")
    assert "text survives" in result.stdout
    assert "does not apply" in result.stdout


def test_json_has_a_row_a_law_and_exit_code_1_if_one_is_broken(tmp_path):
    folder = shutil.copytree(resolve_model("tiny"), tmp_path / "model")
    (folder / "generation_config.json").write_text('{"eos_token_id": 70}')
    result = check(folder, "--tokenizer-only", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert not document["ok"]
    broken = [row for row in document["laws"] if row["verdict"] == "does not hold"]
    assert "ends" in {row["law"] for row in broken}


def test_a_folder_without_weights_is_checked_as_a_tokenizer(tmp_path):
    folder = shutil.copytree(resolve_model("tiny"), tmp_path / "model")
    (folder / "model.safetensors").unlink()
    rows = {row["law"]: row for row in json.loads(check(folder, "--json").stdout)["laws"]}
    assert rows["weights"]["verdict"] == "does not apply"
    assert rows["turns"]["verdict"] == "holds"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"model": {"type": "BPE"}}'),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", '{"tokenizer_class": 3}'),
    ],
)
def test_a_tokenizer_that_cannot_be_read_is_one_line(tmp_path, file, content):
    folder = shutil.copytree(resolve_model("tiny"), tmp_path / "model")
    (folder / file).write_text(content)
    result = check(folder)
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(f"error: tokenizer in '{folder}' cannot be read: ")


@pytest.mark.parametrize("name", ["nothing/at/all", "no-such-model"])
def test_a_model_that_is_not_there_is_one_line(name):
    result = check(name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: model.name must be an existing folder")


@pytest.mark.parametrize("content", ["[]", "{", '{"model_type": "llama", "hidden_size": "x"}'])
def test_a_config_that_cannot_be_read_is_one_line_that_blames_it(tmp_path, content):
    folder = shutil.copytree(resolve_model("tiny"), tmp_path / "model")
    (folder / "config.json").write_text(content)
    result = check(folder, "--json")
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(f"error: config.json in '{folder}' cannot be read: ")


def test_no_name_is_not_the_working_folder():
    result = check("")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: MODEL must be a folder, a Hub id or a name, got ''.\n"


def test_json_is_printed_of_a_model_that_is_not_there(tmp_path):
    result = check(tmp_path, "--json")
    document = json.loads(result.stdout)
    assert (document["ok"], document["laws"]) == (False, [])
    assert f"error: {document['error']}" == result.stderr.strip()
