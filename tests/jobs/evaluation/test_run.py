"""Several experts on several tasks: shared batches, the same answers, and an end like no other."""

import json

import pyarrow.parquet as pq
import pytest

from jobs.evaluate import evaluate_expert
from jobs.evaluation.run import evaluate_survey
from jobs.exams import Samples
from rlpeft.build import build_card, build_state
from rlpeft.errors import CheckpointError, RlpeftError


def kept(out):
    """What an evaluation leaves, and what must not depend on where it was cut off."""
    return {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}


class CutOff(Exception):
    """Stands for whatever ends a driver."""


def cut_off_after(done):
    def on_batch(now, total):
        assert total == 2
        if now == done:
            raise CutOff

    return on_batch


@pytest.mark.slow
def test_an_evaluation_that_was_cut_off_ends_as_one_that_was_not(asked, tmp_path):
    whole = evaluate_survey(asked(), tmp_path / "whole")
    with pytest.raises(CutOff):
        evaluate_survey(asked(), tmp_path / "parts", on_batch=cut_off_after(1))
    (first,) = (tmp_path / "parts" / "completions").iterdir()
    made = first.stat().st_mtime_ns
    parts = evaluate_survey(asked(), tmp_path / "parts")
    assert first.stat().st_mtime_ns == made
    assert parts == whole
    for name, content in kept(tmp_path / "whole").items():
        assert kept(tmp_path / "parts")[name] == content, name


def test_an_evaluation_that_fails_before_its_first_answers_leaves_no_folder(asked, tmp_path):
    with pytest.raises(CutOff):
        evaluate_survey(asked(), tmp_path / "new", on_batch=cut_off_after(0))
    assert not (tmp_path / "new").exists()
    (tmp_path / "there").mkdir()
    with pytest.raises(CutOff):
        evaluate_survey(asked(), tmp_path / "there", on_batch=cut_off_after(0))
    assert (tmp_path / "there").is_dir()


@pytest.mark.slow
def test_greedy_answers_in_shared_batches_are_those_of_each_expert_alone(
    asked, quick, tiny_experts, tmp_path
):
    found = evaluate_survey(asked(Samples()), tmp_path / "out")
    for task, name in (("swap", "up"), ("sort", "down")):
        alone = evaluate_expert(tiny_experts / name, quick(task={"name": f"tiny/{task}"}))
        results = found["tasks"][f"tiny/{task}"]["results"]
        for who, kind in ((name, "accuracy"), ("base", "base_accuracy")):
            own = results[who]["accuracy"]
            assert own["value"] == alone[kind]["value"]
            assert (own["low"], own["high"]) == pytest.approx(
                (alone[kind]["low"], alone[kind]["high"])
            )
            assert results[who]["verdicts"] == alone[kind]["verdicts"]


@pytest.mark.slow
def test_every_completion_is_a_row_with_its_seed_and_policy(asked, tmp_path):
    survey = asked(Samples(3, 0.7, seed=5))
    found = evaluate_survey(survey, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "completions").to_pylist()
    assert len(rows) == 2 * 3 * 8 * 3
    digests = {row["expert"]: row["digest"] for row in rows}
    assert digests["up"] == found["experts"]["up"]["digest"]
    assert len(set(digests.values())) == 3
    seeds = {name: [r["seed"] for r in rows if r["expert"] == name] for name in digests}
    assert seeds["up"] == seeds["down"] == seeds["base"]
    assert len({*seeds["base"]}) == 2 * 8 * 3


@pytest.mark.slow
def test_experts_that_cannot_share_a_batch_take_turns(
    asked, quick, tiny, make_expert, tiny_experts, tmp_path
):
    recipe = quick(adapter={"type": "lora", "rank": 2}, task={"num_test": 4})
    state = build_state(recipe.engine, tiny)
    fields = build_card(recipe, tiny).model_dump(exclude={"name", "digest", "step"})
    lora = make_expert("lora", state.tensors, config=dict(state.config), **fields)
    survey = asked(Samples(), recipes=[recipe], folders=["up", lora])
    found = evaluate_survey(survey, tmp_path / "out")
    results = found["tasks"]["tiny/swap"]["results"]
    assert results["lora"]["accuracy"] == results["base"]["accuracy"]  # a fresh LoRA
    assert len(list((tmp_path / "out" / "completions").iterdir())) == 2


@pytest.mark.slow
def test_what_decides_an_answer_must_not_change_under_an_evaluation(asked, tmp_path):
    evaluate_survey(asked(), tmp_path / "out")
    with pytest.raises(CheckpointError, match="samples was"):
        evaluate_survey(asked(Samples(2, 0.5)), tmp_path / "out")


@pytest.mark.slow
def test_a_damaged_batch_is_named(asked, tmp_path):
    evaluate_survey(asked(), tmp_path / "out")
    first, second = sorted((tmp_path / "out" / "completions").iterdir())
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(CheckpointError, match="the answers of other problems"):
        evaluate_survey(asked(), tmp_path / "out")
    first.write_bytes(content[:-9])
    with pytest.raises(CheckpointError, match="Delete it"):
        evaluate_survey(asked(), tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(asked, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RlpeftError, match=r"notes\.txt"):
        evaluate_survey(asked(), tmp_path)


def test_the_summary_on_the_disk_is_what_was_given(asked, tmp_path):
    found = evaluate_survey(asked(Samples(1)), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == found
    assert (tmp_path / "out" / "evaluation.svg").read_text().startswith("<?xml")
