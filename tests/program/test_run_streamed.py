"""A run whose train rows stream: cut off anywhere it ends as one that was not; nothing is lost."""

import json

import pytest

from jobs.sft import run as supervise
from rlpeft.errors import DataError
from rlpeft.experts.files import load_expert
from rlpeft.program.run import run
from rlpeft.runs.records import read_metrics
from rlpeft.runs.trained_on import marks_of, read_trained
from rlpeft.tasks import load_task

pytestmark = pytest.mark.slow


TAUGHT = {"micro_batch": 4}


class CutOff(Exception):
    """Stands for whatever ends a driver."""


def cut_off(progress, metrics):
    if progress.step == 5:
        raise CutOff


@pytest.fixture
def recipe(quick, tmp_path):
    rows = [f"{n:04d}" for n in range(137, 9000, 300)]
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"q": d, "answer": d[2:] + d[:2]}) + "\n" for d in rows)
    )

    def make(**changes):
        task = {"path": str(tmp_path / "rows.jsonl"), "streaming": 6, "options": {}}
        task |= {"num_validation": 3, "num_test": 3, "name": "jsonl"}
        task["options"]["template"] = "{q}@="
        train = {"steps": 7, "group_size": 2, "eval_every": 4}
        return quick(task=task, train=train, **changes)

    return make


@pytest.mark.parametrize("lag", [0, 1])
def test_a_run_that_was_cut_off_ends_bit_for_bit_as_one_that_was_not(
    recipe, tmp_path, decided, lag
):
    asked = recipe(rollout={"max_lag": lag})
    whole = run(asked, tmp_path / "whole")
    with pytest.raises(CutOff):
        run(asked, tmp_path / "parts", on_step=cut_off)
    assert run(asked, tmp_path / "parts")["digest"] == whole["digest"]
    assert decided(tmp_path / "parts") == decided(tmp_path / "whole")
    assert [row["epoch"] for row in read_metrics(tmp_path / "whole")[1:]] == [0.0] * 6 + [1.0]
    assert load_expert(tmp_path / "whole" / "expert").card.problems == {"validation": 3, "test": 3}
    marks = [read_trained(tmp_path / name).marks for name in ("whole", "parts")]
    task = load_task(asked.task)
    assert all(marks_of(task.draw(turn, 0)) & marks[0] for turn in range(24))
    assert not any(marks_of(problem) & marks[0] for problem in task.split("test"))
    assert marks[0] == marks[1]


def test_supervision_goes_on_bit_for_bit_and_stops_at_a_wrong_row_with_all_steps_before(
    recipe, tmp_path, decided
):
    whole = supervise(recipe(sft=TAUGHT), tmp_path / "whole")
    rows = tmp_path / "rows.jsonl"
    good = rows.read_text()
    rows.write_text(good.replace('"answer": "3767"', '"answer": ""'))
    with pytest.raises(DataError, match=r"row 23 .*a gold answer must be there"):
        supervise(recipe(sft=TAUGHT), tmp_path / "parts")
    assert [row["step"] for row in read_metrics(tmp_path / "parts")] == [0, 1, 2]
    rows.write_text(good)
    assert supervise(recipe(sft=TAUGHT), tmp_path / "parts")["digest"] == whole["digest"]
    assert decided(tmp_path / "parts") == decided(tmp_path / "whole")
