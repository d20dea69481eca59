"""How it stands with a run, from its folder alone."""

import json
from contextlib import contextmanager

import pytest

from rlpeft.errors import DataError
from rlpeft.report.standing import Phase, moved, require_run, standing
from rlpeft.runs.driver import LOCK_FILE, take


def record(folder, *steps, total=9, step_time=2.0):
    rows = [{"step": step, "step_time": step_time} for step in steps]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.json").write_text(json.dumps({"train": {"steps": total}}))


@contextmanager
def driven(folder):
    with (folder / LOCK_FILE).open("w") as lock:
        assert take(lock)
        yield


def after(folder, seconds):
    return (folder / "metrics.jsonl").stat().st_mtime + seconds


def test_a_run_without_a_step_has_begun(tmp_path):
    with driven(tmp_path):
        assert standing(tmp_path).phase is Phase.BEGINS


def test_a_run_that_steps_says_how_long_it_will_take(tmp_path):
    record(tmp_path, 0, 1, 2, 3)
    with driven(tmp_path):
        found = standing(tmp_path, after(tmp_path, 3))
    assert (found.phase, found.line) == (Phase.RUNS, "step 3 of 9, about 0:00:12 left")


@pytest.mark.parametrize(("seconds", "phase"), [(59, Phase.RUNS), (61, Phase.WAITS)])
def test_a_run_whose_driver_lives_and_that_does_not_step_waits(tmp_path, seconds, phase):
    record(tmp_path, 0, 1)
    with driven(tmp_path):
        assert standing(tmp_path, after(tmp_path, seconds)).phase is phase


def test_a_run_of_long_steps_is_given_longer(tmp_path):
    record(tmp_path, 0, 1, step_time=100.0)
    with driven(tmp_path):
        assert standing(tmp_path, after(tmp_path, 499)).phase is Phase.RUNS
        found = standing(tmp_path, after(tmp_path, 501))
    assert found.line == (
        "step 1 of 9: none since 0:08:21, where one took 100.0 s; the driver is there, and waits"
    )


def test_a_run_after_its_last_step_is_tested(tmp_path):
    record(tmp_path, 8, 9)
    with driven(tmp_path):
        assert standing(tmp_path).phase is Phase.TESTS


def test_a_run_with_a_summary_is_finished(tmp_path):
    record(tmp_path, 9)
    (tmp_path / "summary.json").write_text("{}")
    assert standing(tmp_path).phase is Phase.FINISHED


def test_a_run_whose_driver_is_gone_has_stopped(tmp_path):
    record(tmp_path, 4)
    with driven(tmp_path):
        pass
    found = standing(tmp_path)
    assert found.phase is Phase.STOPPED
    assert found.line.startswith("stopped, step 4 of 9: ")


def test_a_line_that_is_being_written_is_no_step_yet(tmp_path):
    record(tmp_path, 1)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 2, "rew')
    assert "stopped, step 1 of 9" in standing(tmp_path).line


def test_a_step_moves_the_run_and_a_look_does_not(tmp_path):
    record(tmp_path, 1)
    before = moved(tmp_path)
    standing(tmp_path)
    assert moved(tmp_path) == before
    record(tmp_path, 1, 2)
    assert moved(tmp_path) != before


def test_a_folder_in_which_nothing_was_started_is_refused(tmp_path):
    with pytest.raises(DataError, match="must have been started"):
        require_run(tmp_path)
    (tmp_path / LOCK_FILE).touch()
    require_run(tmp_path)
    (tmp_path / "recipe.json").write_text('{"search": {}}')  # of rlpeft adapt: it has no steps
    with pytest.raises(DataError, match="must have been started"):
        require_run(tmp_path)
