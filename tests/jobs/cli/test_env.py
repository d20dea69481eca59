"""`rlpeft --version` and `rlpeft env`."""

import json
import platform
from importlib.metadata import version

from typer.testing import CliRunner

from jobs.cli import app
from rlpeft import __version__


def test_the_version_is_that_of_the_package():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"rlpeft {__version__}\n")
    assert version("rlpeft") == __version__


def test_a_bug_report_names_versions_and_hardware(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    result = CliRunner().invoke(app, ["env", "--json"])
    found = json.loads(result.stdout)
    assert found["torch"] == version("torch")
    assert found["python"].startswith(platform.python_version())
    assert found["OMP_NUM_THREADS"] == "3"
    assert "secret" not in result.stdout
    plain = CliRunner().invoke(app, ["env"]).stdout
    assert [line.split()[0] for line in plain.splitlines()] == list(found)
