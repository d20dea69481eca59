"""Runs side by side: what they came to, problem by problem, and where their recipes differ."""

import json

import pytest
import torch

from rewards.verdict import Verdict, VerdictKind
from rlpeft.errors import ConfigError, DataError
from rlpeft.experts.measures import Accuracy, PairedDifference, difference_of
from rlpeft.report.asked import MOST_RUNS
from rlpeft.report.comparison import (
    against,
    curves,
    differing,
    labels,
    read_runs,
    write_comparison,
)
from rlpeft.runs.records import write_test
from rlpeft.types import Completion, FinishReason, Group, Problem, ScoredGroup

HOSTILE = "<script>alert(1)</script>a\u202eb"
Z = "base_model.model.model.layers.0.self_attn.q_proj.svf_z"
CORRECT, WRONG = (Verdict(1.0, VerdictKind.CORRECT), Verdict(0.0, VerdictKind.WRONG))
UNSCORED = Verdict(None, VerdictKind.UNSCORABLE)


def answered(verdicts, *, prompt="2+2=", text="4"):
    """Groups of a test, one for each verdict."""
    done = Completion((5,), (-0.5,), text, FinishReason.STOP, 0, "d")
    return [
        ScoredGroup(
            Group(Problem(f"t/{n}", prompt, "4"), (1,), (done,)), (said,), {"exact": (said,)}
        )
        for n, said in enumerate(verdicts)
    ]


@pytest.fixture
def record(tmp_path, make_expert):
    """Makes a run's folder from a name, verdicts of its test, and more."""

    def make(name, verdicts=None, *, recipe=None, steps=3, reward=0.5, **of_test):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        rows = [{"step": step, "reward": reward, "step_time": 1.0} for step in range(steps)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        tree = {"name": "run", "task": {"name": "tiny/swap"}} | (recipe or {})
        (folder / "recipe.json").write_text(json.dumps(tree))
        if verdicts is not None:
            write_test(folder, {"base": answered([WRONG]), "expert": answered(verdicts, **of_test)})
            right = sum(said is CORRECT for said in verdicts)
            test = {"test": Accuracy.of(right, len(verdicts)), "base_test": Accuracy.of(0, 1)}
            expert = {Z: torch.tensor([1.2, 0.9])}
            make_expert("x", expert, folder=folder / "expert", **test)
        return folder

    return make


def test_runs_are_compared_problem_by_problem(record):
    ours, theirs = [CORRECT] * 30 + [WRONG] * 10, [CORRECT] * 12 + [WRONG] * 28
    runs = read_runs([record("a", theirs), record("b", ours)])
    expected = difference_of(answered(ours), answered(theirs))
    assert expected.value == pytest.approx(18 / 40)
    assert against(runs[1], runs[0], number=1) == expected


def test_intervals_of_several_differences_hold_together(record):
    runs = read_runs([record("a", [CORRECT, WRONG] * 20), record("b", [WRONG, CORRECT] * 20)])
    alone, one_of_five = (against(runs[1], runs[0], number=number) for number in (1, 5))
    assert one_of_five.low < alone.low <= alone.high < one_of_five.high


def test_a_problem_that_one_run_could_not_score_is_left_out(record):
    runs = read_runs(
        [record("a", [CORRECT, WRONG, WRONG]), record("b", [UNSCORED, WRONG, CORRECT])]
    )
    assert against(runs[1], runs[0], number=1).problems == 2


def test_runs_of_other_problems_are_not_compared(record):
    runs = read_runs([record("a", [CORRECT] * 5), record("b", [CORRECT] * 5, prompt="3+1=")])
    assert "no problem in common" in against(runs[1], runs[0], number=1)


@pytest.mark.parametrize(
    ("other", "compared"),
    [
        ({"name": "exact", "timeout_s": 5.0}, True),
        ({"name": "mine:part"}, False),
        ({"name": "exact", "correct_at": 0.5}, False),
    ],
)
def test_runs_of_other_judges_are_not_compared(record, other, compared):
    exact = {"reward": [{"name": "exact"}]}
    verdicts = [CORRECT, WRONG] * 10
    folders = record("a", verdicts, recipe=exact), record("b", verdicts, recipe={"reward": [other]})
    runs = read_runs(folders)
    found = against(runs[1], runs[0], number=1)
    assert ("b has other rewards than a" in str(found)) == (not compared)


@pytest.mark.parametrize(("code", "compared"), [("a", True), ("b", False), (None, True)])
def test_runs_whose_reward_has_other_code_are_not_compared(record, code, compared):
    folders = [record(name, [CORRECT, WRONG] * 10) for name in ("a", "b")]
    for folder, digest in zip(folders, ("a", code), strict=True):
        known = {"reward_code": {"mine:f": digest}} if digest else {}
        (folder / "fingerprint.json").write_text(json.dumps(known))
    runs = read_runs(folders)
    found = against(runs[1], runs[0], number=1)
    assert ("the code of reward 'mine:f' of b is not that of a" in str(found)) != compared


@pytest.mark.parametrize("tested", [0, 1])
def test_a_run_without_a_kept_test_is_named(record, tested):
    verdicts = [[CORRECT], None] if tested == 0 else [None, [CORRECT]]
    runs = read_runs([record("a", verdicts[0]), record("b", verdicts[1])])
    assert f"{'ba'[tested]} has no kept answers" in against(runs[1], runs[0], number=1)


def test_only_options_that_differ_are_shown():
    one = {"name": "x", "train": {"steps": 4, "seed": 0}, "reward": [{"name": "math"}]}
    other = {
        "name": "x",
        "train": {"steps": 9, "seed": 0},
        "reward": [{"name": "exact"}],
        "sft": {},
    }
    assert differing([one, other]) == {
        "train.steps": ["4", "9"],
        "reward": ['[{"name": "math"}]', '[{"name": "exact"}]'],
        "sft": ["–", "{}"],
    }
    assert differing([one, one]) == {}


def test_the_page_holds_figures_differences_and_options(record, tmp_path):
    ours, theirs = [CORRECT] * 30 + [WRONG] * 10, [CORRECT] * 12 + [WRONG] * 28
    folders = [record("a", theirs), record("b", ours, recipe={"train": {"steps": 9}})]
    found = write_comparison(folders, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "75.0 % <small>[59.8, 85.8]" in page
    assert "+45.0 points" in page
    assert "better" in page
    assert "train.steps" in page
    assert "different tasks" not in page
    assert PairedDifference(**found["against_first"]["b"]).value == pytest.approx(0.45)


def test_a_comparison_is_as_safe_as_a_report(record, tmp_path):
    hostile = {"name": HOSTILE, "task": {"path": HOSTILE}, HOSTILE: HOSTILE}
    name = HOSTILE.replace("/", "")
    folders = [record(name, [CORRECT], recipe=hostile, text=HOSTILE), record("b")]
    write_comparison(folders, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "\u202e" not in page
    assert "default-src 'none'" in page


def test_runs_of_different_tasks_are_said_to_be(record, tmp_path):
    folders = [record("a"), record("b", recipe={"task": {"name": "tiny/sort"}})]
    write_comparison(folders, tmp_path / "page.html")
    assert "These runs are of different tasks" in (tmp_path / "page.html").read_text()


def test_curves_are_of_what_some_run_has(record):
    runs = read_runs([record("a"), record("b", reward=None)])
    assert [chart.title for chart in curves(runs)] == ["Reward", "Time of a step"]


def test_long_runs_are_drawn_as_lines_without_a_warning(record):
    runs = read_runs([record("a", steps=30), record("b", steps=30)])
    assert [chart.title for chart in curves(runs)] == ["Reward", "Time of a step"]


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    places = [tmp_path / "x" / "run", tmp_path / "y" / "run", tmp_path / "z"]
    assert labels(places) == ["x/run", "y/run", "z"]


def test_a_run_that_is_named_twice_is_refused(record):
    folder = record("a")
    with pytest.raises(ConfigError, match="must name each run once"):
        read_runs([folder, folder / ".." / "a"])


def test_more_runs_than_colours_are_refused(record):
    with pytest.raises(ConfigError, match=f"at most {MOST_RUNS} runs"):
        read_runs([record(f"run{number}") for number in range(MOST_RUNS + 1)])


def test_a_folder_that_is_no_run_is_named(record, tmp_path):
    with pytest.raises(DataError, match="nothing-there"):
        read_runs([record("a"), tmp_path / "nothing-there"])
