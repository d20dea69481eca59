"""Runs that go on from an expert: where they begin, what the KL is of, what a second one knows."""

import shutil

import pytest

from jobs.train import run
from rlpeft.doctor.examine import examine
from rlpeft.errors import CheckpointError, ConfigError, ExpertError
from rlpeft.experts.files import load_expert
from rlpeft.experts.steps import step_folder
from rlpeft.runs.records import read_metrics

SVF, LORA, MOSLORA = {"type": "svf"}, {"type": "lora", "rank": 4}, {"type": "moslora", "rank": 8}
ONE_STEP = {"steps": 1, "eval_every": 1}


class CutOff(Exception):
    """Stands for whatever ends a driver."""


def cut_off(progress, metrics):
    if progress.step == 1:
        raise CutOff


def local(recipe, out, **options):
    return run(recipe, out, ray=False, **options)


@pytest.fixture(scope="module")
def begun(make_quick, tmp_path_factory):
    """A maker of experts after one step of training; one of each adapter."""
    made = {}

    def make(adapter):
        if adapter["type"] not in made:
            out = tmp_path_factory.mktemp("begun") / "run"
            local(
                make_quick(name="first", adapter=adapter, learner={"lr": 0.01}, train=ONE_STEP), out
            )
            made[adapter["type"]] = step_folder(out, 1)
        return made[adapter["type"]]

    return make


@pytest.fixture
def onward(quick, begun):
    """A maker of recipes that go on from such an expert, on other problems."""

    def make(adapter=SVF, **changes):
        sections = {"task": {"name": "tiny/sort"}, "learner": {"lr": 0.01}} | changes
        sections["model"] = {"start": str(begun(adapter))} | sections.get("model", {})
        return quick(adapter=adapter, **sections)

    return make


@pytest.mark.parametrize("adapter", [SVF, MOSLORA], ids=lambda adapter: adapter["type"])
def test_an_adapter_goes_on_from_an_expert_at_a_kl_of_nothing(onward, begun, tmp_path, adapter):
    loss = {"kl_coef": 0.1, "kl": "full", "reference": "start"}
    summary = local(onward(adapter, loss=loss, train=ONE_STEP), tmp_path)
    first, start = read_metrics(tmp_path)[1], load_expert(begun(adapter)).card
    assert abs(first["kl"]) < 1e-6
    assert first["eval_accuracy"] is not None
    assert summary["start"] == {"name": "first", "digest": start.digest, "source": None}
    assert not summary["equals_base"]
    card = load_expert(tmp_path / "expert").card
    assert card.start.digest == start.digest
    assert card.step == (0 if card.equals_start else 1)


def test_the_kl_to_the_base_begins_where_the_doctor_says(onward, tmp_path):
    recipe = onward(loss={"kl_coef": 0.1}, train=ONE_STEP)
    local(recipe, tmp_path)
    first = read_metrics(tmp_path)[1]["kl"]
    rows = {check.name: check for check in examine(recipe)}
    assert first > 1e-4
    assert rows["KL to the reference"].found.startswith(f"{first:.3g} nats a token (k3) from the b")
    assert rows["start"].found.startswith("first of step 1, sha256:")


def test_the_doctor_says_that_a_kl_to_the_start_begins_at_nothing(onward):
    rows = {c.name: c for c in examine(onward(loss={"kl_coef": 0.1, "reference": "start"}))}
    assert rows["KL to the reference"].found.startswith("0 nats a token (k3) from the start")
    assert {check.status for check in rows.values()} <= {"ok", "warn"}


def test_a_start_of_another_rank_is_a_row_and_no_model_is_adapted(onward, begun):
    recipe = onward(LORA | {"rank": 8}, model={"start": str(begun(LORA))})
    rows = {check.name: check for check in examine(recipe)}
    assert rows["start"].status == "fail"
    assert "adapter.rank = 4, not 8" in rows["start"].found
    assert "engine and weight sync" not in rows


def test_what_training_began_with_is_tested_too(onward, tmp_path):
    recipe = onward(learner={"lr": 1e-30}, train=ONE_STEP)
    summary = local(recipe, tmp_path)
    assert summary["equals_start"]
    assert summary["start_test"] == summary["test"]
    assert load_expert(tmp_path / "expert").card.start_test is not None


def test_a_run_from_a_start_that_was_cut_off_ends_as_one_that_was_not(onward, tmp_path, decided):
    recipe = onward(loss={"kl_coef": 0.1, "reference": "start"}, train={"steps": 2})
    whole = local(recipe, tmp_path / "whole")
    with pytest.raises(CutOff):
        local(recipe, tmp_path / "parts", on_step=cut_off)
    parts = local(recipe, tmp_path / "parts")
    assert decided(tmp_path / "parts") == decided(tmp_path / "whole")
    assert parts["start_test"] == whole["start_test"]


def test_a_run_goes_on_from_the_numbers_that_it_began_with_wherever_they_lie(
    onward, begun, tmp_path
):
    moved, out = tmp_path / "moved", tmp_path / "run"
    with pytest.raises(CutOff):
        local(onward(train={"steps": 2}), out, on_step=cut_off)
    shutil.copytree(begun(SVF), moved)
    other = onward(model={"start": str(step_folder(out, 1))}, train={"steps": 2})
    with pytest.raises(CheckpointError, match="start was '"):
        local(other, out)
    local(onward(model={"start": str(moved)}, train={"steps": 2}), out)


def test_a_start_that_is_no_expert_is_refused_before_there_is_a_run(onward, tmp_path):
    with pytest.raises(ExpertError, match="an expert is a folder with"):
        local(onward(model={"start": str(tmp_path)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_kl_to_the_start_needs_one(quick):
    with pytest.raises(ConfigError, match=r"model\.start names none"):
        quick(loss={"reference": "start"})
