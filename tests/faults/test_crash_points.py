"""A kill before any change of any file leaves the old thing or the new one, and never neither."""

import json
import shutil
import sys

import pytest
import torch

from rewards.verdict import Verdict, VerdictKind
from rlpeft import files
from rlpeft.adapters.svf.factors import factorise, load_factors
from rlpeft.experts.files import load_expert
from rlpeft.program.given import keep_rows
from rlpeft.program.run import run
from rlpeft.runs.checkpoint import load_checkpoint, save_checkpoint
from rlpeft.runs.records import RunRecorder, completions_steps, read_completions, read_metrics
from rlpeft.types import AdvantagedGroup, Completion, FinishReason, Group, Problem

WRONG = "no point of death was met"


def leftovers(folder):
    return [path for path in folder.rglob(".*") if path.name.startswith((".partial", ".replaced"))]


def test_a_file_is_old_or_new(tmp_path, each_death):
    path = tmp_path / "file.json"
    path.write_text("old")
    points = each_death(
        lambda: path.write_text("old"),
        lambda: files.write_text(path, "new"),
        lambda: check_in(path.read_text(), ("old", "new")),
    )
    assert points >= 3, WRONG
    assert path.read_text() == "new"
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("swap", [True, False], ids=["in one operation", "in two"])
def test_a_folder_is_old_or_new(tmp_path, each_death, monkeypatch, swap):
    if swap and sys.platform != "linux":
        pytest.skip("only Linux swaps two names in one operation")
    if not swap:  # a file system without that operation, as NFS
        monkeypatch.setattr(files, "_renameat2", lambda: None)
    folder = tmp_path / "folder"

    def write(text):
        with files.replacing_folder(folder) as partial:
            (partial / "a").write_text(text)
            (partial / "b").write_text(text)

    def check():
        if not swap:
            files.sweep(tmp_path)
        check_in([(folder / name).read_text() for name in "ab"], (["old"] * 2, ["new"] * 2))

    assert each_death(lambda: write("old"), lambda: write("new"), check) >= 5, WRONG
    assert (folder / "a").read_text() == "new"
    assert not leftovers(tmp_path)


def test_an_expert_is_old_or_new(tmp_path, each_death, make_expert):
    folder = tmp_path / "expert"

    def write(value):
        make_expert("x", {"base_model.model.up_proj.svf_z": torch.full((3,), value)}, folder=folder)

    def check():
        (found,) = load_expert(folder).tensors.values()
        check_in(float(found[0]), (1.0, 2.0))

    assert each_death(lambda: write(1.0), lambda: write(2.0), check) >= 5, WRONG
    assert not leftovers(tmp_path)


def test_a_checkpoint_is_the_one_before_or_the_next(tmp_path, each_death):
    def prepare():
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
        for step in (1, 2):
            save_checkpoint(tmp_path, step, {"step": step, "z": torch.ones(2) * step}, keep=2)

    each_death(
        prepare,
        lambda: save_checkpoint(tmp_path, 3, {"step": 3, "z": torch.ones(2) * 3}, keep=2),
        lambda: check_in(load_checkpoint(tmp_path)["step"], (2, 3)),
    )
    assert load_checkpoint(tmp_path)["step"] == 3
    files.sweep(tmp_path / "checkpoints")
    assert not leftovers(tmp_path)


def test_records_of_a_step_are_whole_or_absent(tmp_path, each_death, quick):
    done = Completion((5, 2), (-0.5, -0.1), "4", FinishReason.STOP, version=0, digest="d")
    right = (Verdict(1.0, VerdictKind.CORRECT, "", "4"),)
    group = Group(Problem("p", "2+2=", "4"), (1,), (done,))
    groups = [AdvantagedGroup(group, right, {"math": right}, advantages=(0.0,), trained=(True,))]
    recipe = quick().model_dump(mode="json")

    def record():
        recorder = RunRecorder(tmp_path, recipe)
        recorder.rewind(1)
        recorder.completions(2, groups)
        recorder.metrics(2, {"reward": 1.0})

    def prepare():
        (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n')

    def check():
        assert [row["step"] for row in read_metrics(tmp_path)][:2] == [0, 1]
        assert all(len(read_completions(path)) == 1 for path in completions_steps(tmp_path))

    assert each_death(prepare, record, check) >= 5, WRONG


def test_rows_given_as_objects_are_the_old_ones_or_the_new(tmp_path, each_death):
    old, new = ({split: [{"prompt": text}] * 9 for split in ("train", "test")} for text in "ab")

    def kept():
        found = sorted((tmp_path / "given_rows" / "mine").iterdir())
        return [[json.loads(line) for line in path.read_text().splitlines()] for path in found]

    def check():
        check_in(kept(), ([old["test"], old["train"]], [new["test"], new["train"]]))
        keep_rows(new, tmp_path, "mine")
        assert kept() == [new["test"], new["train"]]
        assert not leftovers(tmp_path)

    keep = [lambda rows=rows: keep_rows(rows, tmp_path, "mine") for rows in (old, new)]
    assert each_death(*keep, check) >= 5, WRONG


def test_cached_factors_are_whole_or_absent(tmp_path, each_death):
    weight = torch.arange(6.0).reshape(2, 3) + torch.eye(2, 3)
    digest = factorise(weight, "gram", cache=tmp_path / "known").digest

    def check():
        found = load_factors(digest, cache=tmp_path / "cache")
        assert found is None or found.basis.shape == (2, 2)

    each_death(
        lambda: shutil.rmtree(tmp_path / "cache", ignore_errors=True),
        lambda: factorise(weight, "gram", cache=tmp_path / "cache"),
        check,
    )


@pytest.mark.parametrize(
    "stride",
    [pytest.param(1, marks=[pytest.mark.campaign, pytest.mark.timeout(3600)]), pytest.param(23)],
    ids=["all", "some"],
)
def test_a_run_that_dies_at_any_change_of_a_file_ends_as_one_that_did_not(
    quick, tmp_path, each_death, die_at, decided, stride
):
    recipe = quick(train={"steps": 2, "eval_every": 1})
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert die_at(10**9, lambda: run(recipe, whole)) == 0
    expected = decided(whole), summary(whole)

    def continue_and_compare():
        assert die_at(10**9, lambda: run(recipe, out)) == 0
        assert (decided(out), summary(out)) == expected
        assert not leftovers(out)

    points = each_death(
        lambda: shutil.rmtree(out, ignore_errors=True),
        lambda: run(recipe, out),
        continue_and_compare,
        stride=stride,
    )
    assert points >= 60, WRONG


def summary(folder):
    found = json.loads((folder / "summary.json").read_text())
    return {name: found[name] for name in ("best_step", "digest", "test", "base_test")}


def check_in(found, allowed):
    assert found in allowed
