"""What is told of an expert's run where its figures are taken anew."""

import pytest

from rlpeft.files import write_json
from rlpeft.program.expert_of_run import said_of_runs
from rlpeft.runs.checkpoint import save_checkpoint
from rlpeft.runs.reward_code import reward_code


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """A reward of a user's, in a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge_told_of.py").write_text("def judge(completions, **_):\n    return []\n")
    return "judge_told_of:judge"


@pytest.mark.parametrize("changed", [True, False])
def test_a_reward_whose_code_is_not_that_of_the_training_is_named(
    judge, changed, make_expert, tmp_path
):
    folder = make_expert("e", {}, folder=tmp_path / "run" / "expert")
    code = {judge: "0" * 64} if changed else reward_code([judge])
    write_json(tmp_path / "run" / "fingerprint.json", {"reward_code": code})
    said = " ".join(said_of_runs([folder], [judge, "exact"]))
    told = f"the code of reward {judge!r} differs from that of the training of"
    assert (told in said) == changed


OLD = {}
"""A summary of before version 0.2, which does not say of how many steps it is."""


@pytest.mark.parametrize(
    ("summary", "ended"), [({"steps": 24}, True), (OLD, True), ({"steps": 9}, False), (None, False)]
)
def test_the_best_expert_of_a_run_that_was_cut_off_is_told_as_that(
    summary, ended, make_expert, tmp_path
):
    run = tmp_path / "run"
    folder = make_expert("e", {}, folder=run / "expert", step=6)
    write_json(run / "recipe.json", {"train": {"steps": 24}})
    save_checkpoint(run, 9, {}, keep=2)
    if summary is not None:
        write_json(run / "summary.json", summary)
    said = " ".join(said_of_runs([folder], ["exact"]))
    assert ("is unfinished (step 9 of 24): this is its best so far, of step 6." in said) != ended
