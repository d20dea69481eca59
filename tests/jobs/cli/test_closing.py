"""What a finished run ends with, from its summary."""

import io
import re

import pytest
from rich.console import Console

from jobs.cli.closing import compared, print_closing
from rlpeft.experts.measures import Accuracy, MeanScore

SUMMARY = {
    "name": "tiny-swap",
    "expert": "/runs/" + "long/" * 30 + "run-a/expert",
    "best_step": 40,
    "test": Accuracy.of(90, 100).model_dump(),
    "base_test": Accuracy.of(50, 100).model_dump(),
    "against_base": {"value": 0.4, "low": 0.29, "high": 0.5, "problems": 100, "judged": True},
    "trainable_parameters": 3072,
    "sync_bytes": 12288,
    "sync_ms": 3.26,
}


def closing_text(summary, width=60):
    out = io.StringIO()
    print_closing(summary, Console(file=out, width=width))
    return out.getvalue()


def test_the_closing_table_compares_base_and_expert_with_intervals():
    text = closing_text(SUMMARY)
    base, expert = (line for line in text.splitlines() if " of 100" in line)
    assert base.split() == ["base", "50.0%", "40.4%", "to", "59.6%", "50", "of", "100"]
    assert expert.split() == ["expert", "90.0%", "82.6%", "to", "94.5%", "90", "of", "100"]


def test_the_closing_compares_an_expert_with_where_it_started_too():
    begun = {"start": {}, "equals_start": False, "start_test": Accuracy.of(88, 100).model_dump()}
    begun["against_start"] = SUMMARY["against_base"] | {"value": 0.02, "low": -0.02}
    text = " ".join(closing_text(SUMMARY | begun).split())
    assert "start 88.0% 80.2% to 93.0% 88 of 100" in text
    assert "the expert is better than its base." in text
    assert "these 100 problems do not tell the expert from its start." in text
    same = " ".join(closing_text(SUMMARY | begun | {"equals_start": True}).split())
    assert "It is the expert that it started from" in same


def test_paths_and_commands_are_of_the_run_and_can_be_copied_whole_from_a_narrow_terminal():
    command = f"rlpeft export {SUMMARY['expert']} --format merged --out run-a-merged"
    assert command in closing_text(SUMMARY)


def test_the_next_command_is_one_that_the_method_has():
    """HypLoRA and MoSLoRA are no matrices: `--format merged` refuses them."""
    assert "--format peft --out run-a-peft" in closing_text(SUMMARY | {"export_format": "peft"})


def test_the_next_command_holds_a_name_whatever_is_in_it():
    text = closing_text(SUMMARY | {"expert": "/runs/my run; ls/expert"})
    assert text.rstrip().endswith("--out 'my run; ls-merged'")


@pytest.mark.parametrize("same", ["equals_base", "equals_start"])
def test_a_run_that_found_nothing_advises_no_export(same):
    begun = {"start": {}, "start_test": SUMMARY["test"], "against_start": SUMMARY["against_base"]}
    summary = SUMMARY | begun | {"equals_start": False, same: True}
    assert "rlpeft export" not in closing_text(summary)


def test_a_run_without_a_difference_between_scores_is_told_what_it_was():
    summary = SUMMARY | {"equals_base": True}
    assert "no step did better" in " ".join(closing_text(summary).split())
    untaught = " ".join(closing_text(summary | {"teaching_groups": 0.0}).split())
    assert "which never moved" in untaught
    assert "Train longer" not in untaught


@pytest.mark.parametrize("same", ["equals_base", "equals_start"])
def test_a_run_whose_conversations_never_end_is_told_the_limit(same):
    begun = {"start": {}, "start_test": SUMMARY["test"], "against_start": SUMMARY["against_base"]}
    ended = {"teaching_groups": 0.0, "ended_by": "environment.max_turns = 4", "equals_start": False}
    said = " ".join(closing_text(SUMMARY | begun | ended | {same: True}).split())
    assert "were ended by environment.max_turns = 4, and not by the environment" in said
    assert "Take a reward" not in said


@pytest.mark.parametrize(("scores", "are_equal"), [([0.7] * 30, True), ([0.6, 0.8] * 15, False)])
def test_the_width_of_equal_scores_is_explained(scores, are_equal):
    score = MeanScore.of(scores).model_dump()
    text = " ".join(closing_text(SUMMARY | {"test": score, "base_test": score}).split())
    assert "expert 0.70 0.6" in text
    assert ("Of equal scores" in text) == are_equal


@pytest.mark.parametrize("scale", [0.0, 0.02, 1.0])
def test_a_table_of_scores_says_what_its_intervals_are(scale):
    score = MeanScore.of([scale * share for share in (0.2, 0.9, 0.9)]).model_dump()
    text = " ".join(closing_text(SUMMARY | {"test": score, "base_test": score}).split())
    assert "Intervals of mean scores follow their spread and their scale." in text
    assert ("Of zeros alone" in text) == (not scale)
    assert "Intervals of mean scores" not in closing_text(SUMMARY)


def test_a_base_that_experts_were_merged_into_is_called_so():
    merged = SUMMARY | {"merged": [{"name": "rising-sft", "digest": "d", "source": None}]}
    text = " ".join(closing_text(merged, width=80).split())
    assert "base with rising-sft merged 50.0%" in text
    assert "the expert is better than its base with rising-sft merged." in text
    same = " ".join(closing_text(merged | {"equals_base": True}).split())
    assert "The expert kept is the base model with rising-sft merged: no step" in same


def test_answers_that_failed_to_be_scored_are_told_below_the_table():
    left_out = Accuracy.of(38, 78, {"correct": 38, "wrong": 40, "error": 1, "timeout": 1})
    text = " ".join(closing_text(SUMMARY | {"base_test": left_out.model_dump()}).split())
    assert "base: 2 of 80 answers failed to be scored." in text
    assert "expert:" not in text


def test_a_name_is_text_and_not_markup():
    assert "[red]x[/red]: test" in closing_text(SUMMARY | {"name": "[red]x[/red]"})


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (0.058, 0.141, "Expert less its base: +10.0 points (95 % interval +5.8 to +14.1)"),
        (0.058, 0.141, "the expert is better than its base."),
        (-0.2, -0.05, "the expert is worse than its base."),
        (-0.02, 0.2, "these 200 problems do not tell the expert from its base."),
    ],
)
def test_the_verdict_on_an_expert_is_that_of_the_paired_difference(low, high, sentence):
    value = 0.1 if low < 0.1 < high else -0.1
    against = {"value": value, "low": low, "high": high, "problems": 200, "judged": True}
    assert sentence in compared(against)


def test_a_summary_without_the_paired_difference_is_given_no_verdict():
    assert "not known here" in compared(None)


def test_a_closing_by_scores_shows_no_accuracy_and_says_that_nothing_was_found():
    score = {"value": 0.25, "low": 0.2, "high": 0.3, "total": 40, "verdicts": {}}
    summary = SUMMARY | {"test": score, "base_test": score, "equals_base": True}
    text = closing_text(summary)
    assert "test mean score" in text
    assert "accuracy" not in text
    assert "%" not in text.replace("95 % interval", "")
    assert "The expert kept is the base model" in text


def test_the_end_of_a_run_counts_the_modules_that_were_moved_and_left_out():
    counts = {"modules": {"q_proj": 2, "o_proj": 2}, "left_out": {"experts.down_proj": 2}}
    text = closing_text(SUMMARY | counts)
    assert re.search(r"adapted modules +q_proj 2, o_proj 2\n", text)
    assert re.search(r"left out +experts.down_proj 2\n", text)
    assert "left out" not in closing_text(SUMMARY)


MODULES = {f"{name}_proj": 32 for name in ("q", "k", "v", "o", "gate", "up", "down")}


@pytest.mark.parametrize("width", [60, 80])
def test_the_end_of_a_run_fits_the_terminal_but_for_what_is_copied(width, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "tiny-swap"
    places = {"expert": str(run / "expert"), "report": str(run / "report.html")}
    out, summary = io.StringIO(), SUMMARY | places | {"modules": MODULES, "left_out": MODULES}
    for equal in (False, True):
        print_closing(summary | {"equals_base": equal}, Console(file=out, width=width))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    command = "rlpeft export runs/tiny-swap/expert --format merged --out tiny-swap-merged"
    copied = [line for line in lines if line.endswith(command)]
    assert copied
    assert [line for line in lines if len(line) > width and line not in copied] == []
    assert "expert                runs/tiny-swap/expert" in lines


def test_of_several_tasks_none_has_a_difference_where_the_base_was_kept():
    part = {"test": SUMMARY["test"], "base_test": SUMMARY["test"]}
    part |= {"against_base": SUMMARY["against_base"]}
    several = SUMMARY | {"tasks": {"swap": part}}
    assert "(95 % interval" in closing_text(several)
    kept = closing_text(several | {"equals_base": True})
    assert "The expert is the base itself" in kept
    assert "(95 % interval" not in kept
