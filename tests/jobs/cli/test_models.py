"""`rlpeft models`: what it prints and what it refuses."""

import json
import shutil

from typer.testing import CliRunner

from jobs.cli.models import app
from rlpeft.errors import ModelError
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.models.merged import merged_home


def test_list_says_which_models_are_ready(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["list", "--json"])
    ready = {row["name"]: row["ready"] for row in json.loads(result.stdout)}
    assert ready == {"tiny": True, "tiny-tools": True, "tiny-vision": True, "smollm2-135m": False}
    plain = CliRunner().invoke(app, ["list"])
    assert "rlpeft models fetch smollm2-135m" in plain.stdout


def test_fetch_prints_path_and_digest_of_a_folder_that_is_there(tmp_path):
    folder = shutil.copytree(resolve_model("tiny"), tmp_path / "model")
    result = CliRunner().invoke(app, ["fetch", "smollm2-135m", "--out", str(folder), "--json"])
    document = json.loads(result.stdout)
    assert document["path"] == str(folder)
    assert document["digest"] == model_digest(folder)


def test_fetch_of_an_unknown_model_is_our_error():
    result = CliRunner().invoke(app, ["fetch", "gpt-9"])
    assert isinstance(result.exception, ModelError)
    assert result.exit_code == 1


def test_merged_bases_are_listed_with_their_size_and_cleared(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = merged_home() / "a-float32"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(2_000_000))
    listed = CliRunner().invoke(app, ["list"]).stdout
    assert "beside them 1 merged base, 2.0 MB; to remove: rlpeft models clear-merged" in listed
    cleared = CliRunner().invoke(app, ["clear-merged", "--json"]).stdout
    assert json.loads(cleared) == {"removed": 1, "bytes": 2_000_000}
    assert "no merged base is kept" in CliRunner().invoke(app, ["clear-merged"]).stdout
    assert "merged" not in CliRunner().invoke(app, ["list"]).stdout
