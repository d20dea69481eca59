"""The notebooks run from top to bottom, without a kernel: commands are called in this process."""

import json
import linecache
import re
import shlex
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from typer.main import get_command

from jobs.cli import app

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "jobs/notebooks").glob("*.ipynb"))
CHOSEN = "[sort: tiny-classifier says 'sort'"
"""What two passes say, in the one notebook whose training is by commands."""


def cells(notebook, kind):
    tree = json.loads(notebook.read_text())
    return ["".join(cell["source"]) for cell in tree["cells"] if cell["cell_type"] == kind]


def code_of(cell):
    """A cell with its commands as calls, in which names stand in braces."""
    return re.sub(r"^!rlpeft (.*)$", lambda typed: f"command(f{typed[1]!r})", cell, flags=re.M)


def command(typed):
    get_command(app).main(shlex.split(typed), prog_name="rlpeft", standalone_mode=False)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", plt.close)
    names = {"__name__": "__main__", "command": command}
    for number, cell in enumerate(cells(notebook, "code")):
        code, file = code_of(cell), f"<cell {number}>"
        # As IPython does: what a run is started with has the lines of its reward.
        linecache.cache[file] = len(code), None, code.splitlines(keepends=True), file
        exec(compile(code, file, "exec"), names)
    plt.close("all")
    if "done" in names:
        assert names["done"].against_base.low > 0
    else:
        assert CHOSEN in capsys.readouterr().out


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_what_it_printed(notebook):
    tree = json.loads(notebook.read_text())
    code = [cell for cell in tree["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert {*tree["metadata"]} == {"kernelspec", "language_info"}
    assert not re.search(r"/(?:home|root|tmp|Users)/", notebook.read_text())
