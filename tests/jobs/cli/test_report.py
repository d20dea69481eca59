"""`rlpeft report`: one page, several runs, a run that goes on; what does not go together."""

import json

import pytest
from typer.testing import CliRunner

from jobs.cli import app


def invoke(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.fixture
def runs(tmp_path):
    """Two folders of runs with one step."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text('{"step": 1, "reward": 0.5}\n')
    return tmp_path / "a", tmp_path / "b"


def test_the_page_of_a_run_lies_in_its_folder_unless_told_otherwise(runs, tmp_path):
    own, other = invoke(runs[0]), invoke(runs[0], "--out", tmp_path / "page.html")
    assert own.stdout.strip() == str(runs[0] / "report.html")
    assert other.stdout.strip() == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == (runs[0] / "report.html").read_bytes()


def test_several_runs_are_told_as_json_on_demand(runs, tmp_path):
    found = json.loads(invoke(*runs, "--out", tmp_path / "page.html", "--json").stdout)
    assert found["report"] == str(tmp_path / "page.html")
    assert list(found["runs"]) == ["a", "b"]
    assert "a has no kept answers" in found["against_first"]["b"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--port", "8000"], "--port is of --follow"),
        (["--follow", "--json"], "writes none"),
        (["--follow", "--out", "page.html"], "writes none"),
    ],
)
def test_options_that_do_not_go_together_are_refused(runs, options, told):
    result = invoke(runs[0], *options)
    assert result.exit_code == 1
    assert told in result.stderr


def test_several_runs_are_not_followed(runs):
    assert "one run, got 2" in invoke(*runs, "--follow").stderr


def test_a_folder_that_is_no_run_is_one_line(runs, tmp_path):
    for options in ([tmp_path], [runs[0], tmp_path], [tmp_path, "--follow"]):
        result = invoke(*options)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
