"""Models with one thing wrong, each a copy of tiny."""

import json
import shutil

import pytest

from rlpeft.model_checks.examine import examine
from rlpeft.models.folder import resolve_model

TINY = resolve_model("tiny")


@pytest.fixture
def altered(tmp_path):
    """A maker of tiny's folder with changed files: a dict is merged, a text replaces."""

    def make(weights=True, drop=(), **files):
        folder = shutil.copytree(TINY, tmp_path / "model")
        for name in [*drop, *([] if weights else ["model.safetensors"])]:
            (folder / name).unlink()
        for name, content in files.items():
            file = folder / name.replace("__", ".")
            if isinstance(content, dict):
                content = json.dumps(json.loads(file.read_text()) | content)
            elif callable(content):
                tree = json.loads(file.read_text())
                content(tree)
                content = json.dumps(tree)
            file.write_text(content)
        return folder

    return make


@pytest.fixture(scope="session")
def rows_of():
    """Rows of a model's table, by law."""

    def rows(folder, *, weights=False, engines=()):
        return {row.law: row for row in examine(folder, weights=weights, engines=engines)}

    return rows
