"""A bench's rows on their way from its own process."""

import os
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.bench.rows import BenchRow, apart
from jobs.cli import app
from rlpeft.errors import EngineError


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Let the bench's process find the functions below."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))


def row(figure):
    return BenchRow(figure, 1.0, 2.0, 0.5, "s", "none", "<= 1 x", met=True)


def two_rows():
    yield row("one")
    yield row("two")


def nested(log):
    print("said by the outer process")
    yield from apart(two_rows)


def one_row_then(end):
    yield row("one")
    end()


def refuse():
    raise EngineError("vLLM must start.")


@pytest.mark.slow
def test_rows_come_from_a_process_within_a_process(tmp_path):
    log = tmp_path / "log"
    assert [r.figure for r in apart(partial(nested, log), log=log)] == ["one", "two"]


@pytest.mark.slow
def test_what_a_bench_prints_goes_into_the_log(tmp_path, capfd):
    log = tmp_path / "log"
    list(apart(partial(nested, log), log=log))
    assert log.read_text() == "said by the outer process\n"
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_rows_are_there_before_a_bench_fails():
    rows = apart(partial(one_row_then, refuse))
    assert next(rows).figure == "one"
    with pytest.raises(EngineError, match=r"vLLM must start\.") as failed:
        next(rows)
    assert "in refuse" in failed.value.__notes__[0]


@pytest.mark.slow
def test_a_bench_that_is_killed_is_told_from_one_that_ended():
    rows = apart(partial(one_row_then, partial(os._exit, 9)))
    assert next(rows).figure == "one"
    with pytest.raises(EngineError, match="its process died"):
        next(rows)


def test_the_processes_that_measure_have_the_threads_that_were_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    seen = []
    monkeypatch.setattr(
        "jobs.bench.rows.apart", lambda *_, **__: seen.append(os.environ["OMP_NUM_THREADS"]) or []
    )
    for options in ([], ["--threads", "3"]):
        assert CliRunner().invoke(app, ["bench", "rewards", "--json", *options]).exit_code == 0
    assert seen == ["1", "3"]
