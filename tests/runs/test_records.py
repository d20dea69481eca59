"""What a run writes down, and how it forgets steps that are run again."""

import json

import pytest

from rewards.verdict import Verdict, VerdictKind
from rlpeft.errors import DataError
from rlpeft.runs.records import (
    RunRecorder,
    completions_path,
    completions_steps,
    read_completions,
    read_metrics,
    recorded_metrics,
    write_test,
)
from rlpeft.types import AdvantagedGroup, Completion, FinishReason, Group, Problem

CHAT = ({"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "It is"})
CORRECT = Verdict(1.0, VerdictKind.CORRECT, "4 equals 4", "4")
UNSCORED = Verdict(None, VerdictKind.UNSCORABLE, "no gold answer")

RECIPE = {"name": "sums", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}


def completion(text="4", finish=FinishReason.STOP):
    return Completion((5, 2), (-0.5, -0.1), text, finish, version=6, digest="d")


def group(problem, done, verdict, advantage, **columns):
    """A group of one member."""
    recorded = {name: (value,) for name, value in columns.items()}
    group, said = Group(problem, (1,), (done,)), (verdict,)
    learnt = {"advantages": (advantage,), "trained": (True,)}
    return AdvantagedGroup(group, said, {"math": said}, recorded, **learnt)


def groups(**columns):
    """Two of them; a column has a value for each."""
    first, second = ({name: values[at] for name, values in columns.items()} for at in (0, 1))
    cut = completion("", FinishReason.LENGTH)
    return [
        group(Problem("sums/1", "2+2=", "4"), completion(), CORRECT, 0.5, **first),
        group(Problem("sums/2", CHAT, "4"), cut, UNSCORED, 0.0, **second),
    ]


@pytest.fixture
def recorder(tmp_path):
    recorder = RunRecorder(tmp_path / "run", RECIPE)
    yield recorder
    recorder.close()


def test_each_step_is_one_json_line_with_the_step_first(recorder):
    recorder.metrics(0, {"eval_accuracy": 0.5})
    recorder.metrics(1, {"reward": 0.25, "kl": 0.0})
    lines = (recorder.folder / "metrics.jsonl").read_text().splitlines()
    assert lines == ['{"step": 0, "eval_accuracy": 0.5}', '{"step": 1, "reward": 0.25, "kl": 0.0}']


def test_a_number_that_is_not_finite_is_null(recorder):
    recorder.metrics(1, {"kl": float("nan"), "loss": float("inf")})
    assert read_metrics(recorder.folder) == [{"step": 1, "kl": None, "loss": None}]


def test_a_line_can_be_read_before_the_run_ends(recorder):
    recorder.metrics(1, {"reward": 1.0})
    assert read_metrics(recorder.folder) == [{"step": 1, "reward": 1.0}]


def test_the_recipe_is_kept_beside_the_records(recorder):
    stored = json.loads((recorder.folder / "recipe.json").read_text())
    assert stored == RECIPE


def test_a_completion_row_holds_verdict_advantage_and_origin(recorder):
    recorder.completions(7, groups())
    first, second = read_completions(completions_path(recorder.folder, 7))
    assert first == {
        "step": 7,
        "problem": "sums/1",
        "prompt": "2+2=",
        "completion": "4",
        "math": 1.0,
        "advantage": 0.5,
        "reward": 1.0,
        "verdict": "correct",
        "reason": "4 equals 4",
        "extracted": "4",
        "answer": "4",
        "finish_reason": "stop",
        "num_tokens": 2,
        "version": 6,
    }
    assert (second["math"], second["verdict"]) == (None, "unscorable")
    assert second["finish_reason"] == "length"
    assert second["prompt"] == "user: 2+2?\n\nassistant: It is"


def test_extra_columns_of_rewards_are_kept(recorder):
    recorder.completions(1, groups(gold_parsed=["4", None]))
    rows = read_completions(completions_path(recorder.folder, 1))
    assert [row["gold_parsed"] for row in rows] == ["4", None]


def test_an_extra_column_never_overwrites_one_of_ours(recorder):
    recorder.completions(1, groups(prompt=["x", "y"]))
    rows = read_completions(completions_path(recorder.folder, 1))
    assert rows[0]["prompt"] == "2+2="
    assert [row["extra/prompt"] for row in rows] == ["x", "y"]


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([1, "one"], ["1", "one"]),
        ([10**30, 2], [str(10**30), "2"]),
        ([10**5000, 2], ["<int>", "2"]),
        (["\ud800", None], ["?", None]),
    ],
)
def test_whatever_a_reward_records_can_be_written(recorder, values, written):
    recorder.completions(1, groups(odd=values))
    rows = read_completions(completions_path(recorder.folder, 1))
    assert [row["odd"] for row in rows] == written


def test_rewinding_forgets_later_steps_and_a_line_that_was_cut_off(recorder):
    for step in (0, 1, 2, 3):
        recorder.metrics(step, {"reward": float(step)})
        recorder.completions(step, groups())
    with (recorder.folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "rew')
    recorder.rewind(1)
    recorder.metrics(2, {"reward": 20.0})
    assert read_metrics(recorder.folder) == [
        {"step": 0, "reward": 0.0},
        {"step": 1, "reward": 1.0},
        {"step": 2, "reward": 20.0},
    ]
    assert completions_steps(recorder.folder)[-1] == completions_path(recorder.folder, 1)


@pytest.mark.parametrize(
    ("kept", "lost"),
    [([], "3 of 3 steps, the first of step 0"), ([0, 2], "1 of 3 steps, the first of step 1")],
)
def test_continuing_without_the_lines_of_steps_is_said(recorder, kept, lost):
    for step in kept:
        recorder.metrics(step, {"reward": 1.0})
    with pytest.warns(UserWarning, match=lost):
        recorder.rewind(2)
    assert [row["step"] for row in read_metrics(recorder.folder)] == kept


@pytest.mark.parametrize("name", ["step", "reward", "loss", "eval_accuracy", "verdicts/correct"])
def test_a_recorded_metric_never_takes_the_name_of_one_of_ours(name):
    assert recorded_metrics({name: 1.0, "depth": 2.0}) == {f"extra/{name}": 1.0, "depth": 2.0}


@pytest.mark.parametrize("line", ["[]", "{}", '{"step": "1"}', "[" * 100_000, "null"])
def test_a_line_that_is_no_step_is_named(recorder, line):
    (recorder.folder / "metrics.jsonl").write_text(f'{{"step": 0}}\n{line}\n')
    with pytest.raises(DataError, match=r"line 2 of .*metrics.jsonl"):
        read_metrics(recorder.folder)


def test_a_number_too_large_for_a_float_is_null(recorder):
    recorder.metrics(1, {"huge": 10**400})
    assert read_metrics(recorder.folder) == [{"step": 1, "huge": None}]


def test_rewinding_to_before_the_start_forgets_everything(recorder):
    recorder.metrics(0, {"eval_accuracy": 0.5})
    recorder.completions(1, groups())
    recorder.rewind(-1)
    assert read_metrics(recorder.folder) == []
    assert completions_steps(recorder.folder) == []


def test_a_new_recorder_goes_on_where_the_last_one_stopped(tmp_path):
    for step in (0, 1, 2):
        recorder = RunRecorder(tmp_path, RECIPE)
        recorder.rewind(step - 1)
        recorder.metrics(step, {"reward": 1.0})
        recorder.close()
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2]


@pytest.mark.parametrize(
    "value", ['"0.5"', "{}", "[[]]", "true", "NaN", "-Infinity", "1" + 400 * "0"]
)
def test_a_value_that_is_no_number_is_named(recorder, value):
    recorder.metrics(0, {"loss": 1.0, "reward": float("nan")})
    assert read_metrics(recorder.folder)[0]["reward"] is None
    with (recorder.folder / "metrics.jsonl").open("a") as file:
        file.write(f'{{"step": 1, "loss": {value}}}\n')
    with pytest.raises(DataError, match=r"line 2 of .* must hold numbers, 'loss' is .* Remove"):
        read_metrics(recorder.folder)


def test_a_damaged_line_in_the_middle_is_named(recorder):
    (recorder.folder / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"line 2 of .*metrics.jsonl"):
        read_metrics(recorder.folder)


def test_answers_of_the_test_stand_there_by_policy_and_what_rewards_recorded_of_one_alone(tmp_path):
    first, second = groups(length=(3, 0))
    bare = [group(Problem("sums/1", "2+2=", "4"), completion("5"), UNSCORED, 0.0)]
    write_test(tmp_path, {"base": bare, "start": (), "expert": [first, second]})
    rows = read_completions(tmp_path / "test.parquet")
    kept = ("policy", "problem", "completion", "verdict", "math", "length")
    assert [tuple(row[name] for name in kept) for row in rows] == [
        ("base", "sums/1", "5", "unscorable", None, None),
        ("expert", "sums/1", "4", "correct", 1.0, 3),
        ("expert", "sums/2", "", "unscorable", None, 0),
    ]
    assert not {"advantage", "step"} & rows[0].keys()
