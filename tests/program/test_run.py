"""A run is one run, however often it is cut off: the law of exact resume, and its exceptions."""

import hashlib
import json
import shutil
import sys
from collections import Counter

import pytest

from rlpeft.errors import CheckpointError, ConfigError
from rlpeft.experts.files import load_expert
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.program.folder import lone_run
from rlpeft.program.run import run
from rlpeft.report.page import write_report
from rlpeft.runs.records import completions_steps, read_completions, read_metrics


class CutOff(Exception):
    """Stands for whatever ends a driver."""


def cut_off_at(step):
    def on_step(progress, metrics):
        if progress.step == step:
            raise CutOff

    return on_step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cuts", "lag"), [((0,), 0), ((1,), 0), ((2, 3), 0), ((1, 3), 1), ((2, 3), 2)]
)
def test_a_run_that_was_cut_off_ends_bit_for_bit_as_one_that_was_not(
    quick, tmp_path, cuts, lag, decided
):
    recipe = quick(rollout={"max_lag": lag})
    whole = run(recipe, tmp_path / "whole")
    for step in cuts:
        with pytest.raises(CutOff):
            run(recipe, tmp_path / "parts", on_step=cut_off_at(step))
    parts = run(recipe, tmp_path / "parts")
    assert decided(tmp_path / "parts") == decided(tmp_path / "whole")
    assert parts["test"] == whole["test"]
    assert parts["digest"] == whole["digest"]


@pytest.mark.slow
def test_each_step_keeps_one_rollout_token_by_token(quick, tmp_path):
    recipe = quick(train={"steps": 2})
    run(recipe, tmp_path)
    tokenizer = load_tokenizer(resolve_model("tiny"))
    for path in completions_steps(tmp_path):
        rows = read_completions(path)
        (row,) = [row for row in rows if row["tokens"]]
        assert abs(row["advantage"]) == max(abs(row["advantage"]) for row in rows)
        sampled = row["tokens"]["sampled"]["ids"]
        assert tokenizer.decode(sampled, skip_special_tokens=True) == row["completion"]
        assert len(row["tokens"]["logprobs"]) == len(sampled) == row["num_tokens"]
        prompt = tokenizer.decode(row["tokens"]["prompt"]["ids"])
        assert prompt == tokenizer.bos_token + row["prompt"]


@pytest.mark.slow
def test_a_finished_run_is_not_tested_again(quick, tmp_path):
    recipe = quick(train={"steps": 1})
    first = run(recipe, tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps(first | {"name": "kept"}))
    assert run(recipe, tmp_path)["name"] == "kept"


@pytest.mark.slow
def test_the_answers_to_the_test_are_kept_and_amount_to_its_figures(quick, tmp_path):
    summary = run(quick(train={"steps": 1}), tmp_path)
    rows = read_completions(tmp_path / "test.parquet")
    correct = Counter(row["policy"] for row in rows if row["verdict"] == "correct")
    assert correct["expert"] == summary["test"]["correct"]
    assert correct["base"] == summary["base_test"]["correct"]
    assert len(rows) == 2 * summary["test"]["total"]


@pytest.mark.slow
def test_an_expert_that_equals_its_base_is_said_on_summary_and_card(quick, tmp_path):
    """A rate below the rounding of a multiplier moves nothing."""
    still = run(quick(train={"steps": 2, "eval_every": 1}, learner={"lr": 1e-30}), tmp_path)
    assert still["equals_base"]
    assert load_expert(tmp_path / "expert").card.equals_base
    assert "the expert is the base model" in (write_report(tmp_path)).read_text()


@pytest.mark.slow
def test_a_longer_run_continues_a_finished_one_and_is_tested_anew(quick, tmp_path, decided):
    run(quick(train={"steps": 2}), tmp_path / "grown")
    run(quick(), tmp_path / "grown")
    run(quick(), tmp_path / "whole")
    assert decided(tmp_path / "grown")["tensors"] == decided(tmp_path / "whole")["tensors"]
    assert load_expert(tmp_path / "grown" / "expert").card.test is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"learner": {"lr": 0.01}}, r"recipe\.learner\.lr was 0\.05, is 0\.01"),
        ({"task": {"num_test": 9}}, "the problems have changed"),
        ({"train": {"seed": 1}}, r"recipe\.train\.seed was 0, is 1"),
    ],
)
def test_a_checkpoint_is_not_continued_under_another_set_up(quick, tmp_path, changes, difference):
    with pytest.raises(CutOff):
        run(quick(), tmp_path, on_step=cut_off_at(1))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"}
    with pytest.raises(CheckpointError, match=difference):
        run(quick(**changes), tmp_path)
    for path, changed in before.items():
        assert path.stat().st_mtime_ns == changed, path


@pytest.mark.slow
def test_a_checkpoint_is_not_continued_under_another_judge(quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "my_judge_of_late.py"
    source.write_text("def judge(completions, **_):\n    return [1.0 for _ in completions]\n")
    recipe = quick(reward=[{"name": "my_judge_of_late:judge"}])
    with pytest.raises(CutOff):
        run(recipe, tmp_path / "run", on_step=cut_off_at(1))
    source.write_text(source.read_text().replace("1.0", "0.0"))
    with pytest.raises(CheckpointError, match=r"code of reward .* has changed"):
        run(recipe, tmp_path / "run")
    source.write_text(source.read_text().replace("0.0", "1.0"))
    run(recipe, tmp_path / "run")


@pytest.mark.slow
def test_a_run_from_before_judges_were_noted_still_continues(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "my_judge_of_old.py"
    source.write_text("def judge(completions, **_):\n    return [1.0 for _ in completions]\n")
    recipe = quick(reward=[{"name": "my_judge_of_old:judge"}], train={"steps": 2})
    with pytest.raises(CutOff):
        run(recipe, tmp_path / "run", on_step=cut_off_at(1))
    path = tmp_path / "run" / "fingerprint.json"
    written = json.loads(path.read_text())
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert written.pop("reward_code") == {"my_judge_of_old:judge": digest}
    path.write_text(json.dumps(written))
    run(recipe, tmp_path / "run")
    assert "started before fingerprints held reward_code" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["gone", "another step's"])
def test_a_run_that_lost_its_best_expert_stops_at_once_and_says_where_it_lies(
    quick, tmp_path, monkeypatch, loss
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_rising_judge.py").write_text(
        "calls = [0.0]\n"
        "def judge(completions, **_):\n"
        "    calls.append(calls[-1] + 1)\n"
        "    return [calls[-1] for _ in completions]\n"
    )
    out, reward = tmp_path / "run", [{"name": "my_rising_judge:judge"}]
    recipe = quick(train={"steps": 3, "eval_every": 1}, reward=reward)
    with pytest.raises(CutOff):
        run(recipe, out, on_step=cut_off_at(2))
    best, kept = out / "expert", out / "steps" / "step_00000002"
    shutil.rmtree(best)
    if loss != "gone":
        shutil.copytree(out / "steps" / "step_00000001", best)
    with pytest.raises(CheckpointError, match=r"best expert .* of step 2, got") as told:
        run(recipe, out)
    assert f"Put {str(kept)!r} in its place." in str(told.value)
    shutil.rmtree(best, ignore_errors=True)
    shutil.copytree(kept, best)
    run(recipe, out)


@pytest.mark.slow
def test_a_run_without_a_step_may_still_be_mended(quick, tmp_path):
    with pytest.raises(CutOff):
        run(quick(), tmp_path, on_step=cut_off_at(0))
    run(quick(learner={"lr": 0.01}, train={"steps": 1}), tmp_path)


def test_two_drivers_are_not_let_into_one_run(quick, tmp_path):
    with lone_run(tmp_path), pytest.raises(CheckpointError, match="must have one driver"):
        run(quick(), tmp_path)


@pytest.mark.slow
def test_the_expert_that_is_kept_is_best_by_the_metric_that_was_named(quick, tmp_path):
    """Every length will do, so by it no later step is better than the first."""
    options = {"target_len": 5, "tolerance": 9}
    reward = [{"name": "exact"}, {"name": "length", "weight": 0.0, "options": options}]
    recipe = quick(reward=reward, train={"select": "rewards/length"})
    assert run(recipe, tmp_path / "run")["best_step"] == 0
    rows = [row for row in read_metrics(tmp_path / "run") if "eval_selected" in row]
    assert [row["step"] for row in rows] == [0, 2, 4]


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_written(
    quick, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match="pip install mlflow"):
        run(quick(train={"report_to": ["mlflow"]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_answers_that_the_context_cannot_hold_are_refused_before_anything_is_written(
    quick, tmp_path
):
    with pytest.raises(ConfigError, match=r"below the model's context of 512 tokens.* got 600"):
        run(quick(rollout={"max_tokens": 600}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
