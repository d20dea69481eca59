"""The table of built-in rewards: whole, and enough to add one by its own file and one line."""

import json
import sys

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from rewards import UnknownKindError, verify, verify_batch
from rewards.registry import REWARDS, BuiltIn, imported
from rewards.scorer import RewardSpec
from rlpeft.program.run import run
from rlpeft.runs.records import completions_steps, read_completions

PATHS = {path for one in REWARDS.values() for path in (one.verify, one.batch, one.reward) if path}


@pytest.mark.parametrize("path", sorted(PATHS))
def test_every_function_of_the_table_is_there(path):
    assert callable(imported(path))


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_of_the_table_can_be_called(name):
    assert REWARDS[name].verify or REWARDS[name].reward
    assert "{}" in REWARDS[name].form


def test_what_judges_no_answer_is_no_kind():
    with pytest.raises(UnknownKindError, match="math, regex, got 'length'"):
        verify("7", "7", kind="length")


BACKWARDS = '''
"""Answers that are read from right to left."""

from rewards.verdict import Verdict, VerdictKind


def verify_backwards(completion, gold, *, marks=""):
    right = completion.rstrip(marks) == gold[::-1]
    kind = VerdictKind.CORRECT if right else VerdictKind.WRONG
    return Verdict(float(right), kind, f"{completion!r} read from the right", completion)
'''


@pytest.fixture
def backwards(tmp_path, monkeypatch):
    """A built-in reward added from outside: its own file and one line of the table."""
    (tmp_path / "backwards.py").write_text(BACKWARDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(REWARDS, "backwards", BuiltIn("backwards:verify_backwards", form="{}"))
    yield
    sys.modules.pop("backwards", None)
    imported.cache_clear()


@pytest.mark.usefixtures("backwards")
def test_an_added_reward_is_a_kind_of_verify():
    assert verify("21", "12", kind="backwards").kind.value == "correct"
    verdicts = verify_batch(["21!", "12"], ["12", "12"], kind="backwards", marks="!")
    assert [verdict.score for verdict in verdicts] == [1.0, 0.0]


@pytest.mark.usefixtures("backwards")
def test_an_added_reward_may_have_several_right_answers(score):
    columns = {"answer": [["34", "12"], ["34"]]}
    spec = RewardSpec("backwards", options={"several": True})
    assert [v.score for v in score([spec], ["21", "21"], columns=columns).verdicts] == [1.0, 0.0]


@pytest.mark.slow
@pytest.mark.usefixtures("backwards")
def test_an_added_reward_trains_a_recipe_that_names_it(quick, tmp_path):
    run(quick(reward=[{"name": "backwards"}], train={"steps": 1}), tmp_path / "run")

    rows = [row for path in completions_steps(tmp_path / "run") for row in read_completions(path)]
    assert len(rows) == 16
    assert all("read from the right" in row["reason"] for row in rows)


@pytest.mark.usefixtures("backwards")
def test_an_added_reward_is_scored_and_checked_on_the_command_line(tmp_path):
    rows = tmp_path / "rows.jsonl"
    row = {"question": "?", "gold": "12", "answer": "12", "prediction": "21!"}
    rows.write_text("".join(json.dumps(row | {"answer": str(n)}) + "\n" for n in range(10, 20)))

    scored = CliRunner().invoke(
        app, ["reward", "score", str(rows), "--kind", "backwards", "--option", "marks=!", "--json"]
    )
    assert json.loads(scored.stdout.splitlines()[0])["kind"] == "correct"

    checked = CliRunner().invoke(
        app, ["reward", "check", "backwards", "--data", str(rows), "--json"]
    )
    found = json.loads(checked.stdout)
    assert (found["reward"], found["columns"]) == ("backwards", ["answer"])
    assert found["kinds"]["right"] == {"correct": 1, "wrong": 9, "score": 0.1}  # 11 reads both ways
