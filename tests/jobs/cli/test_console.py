"""What a person sees of a run, from its records."""

import io
import re
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from jobs.cli.console import (
    RunDisplay,
    after,
    clock_time,
    fitted,
    pace,
    run_shown,
)
from rlpeft.runs.figures import figures


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def shown(metrics_by_step, *, total, seconds):
    """The lines of a run whose steps take `seconds` each."""
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, width=60)
    with RunDisplay(total, console=console, clock=clock) as display:
        for step, metrics in metrics_by_step.items():
            display.step(SimpleNamespace(step=step), metrics)
            clock.now += seconds
    return out.getvalue().splitlines()


def test_a_step_is_shown_once_it_is_kept():
    told = []
    after(lambda step: told.append(f"shown {step}"), lambda: told.append("kept"))(3)
    assert told == ["kept", "shown 3"]


def test_a_log_gets_one_plain_line_a_step():
    lines = shown({1: {"reward": 0.5, "kl": 0.01}, 2: {"reward": 0.75}}, total=4, seconds=2)
    assert lines == [
        "step 1/4  reward 0.500  kl 0.01",
        "step 2/4  reward 0.750  2.0 s/step  0:04 left",
    ]


def test_a_log_gets_at_most_one_line_a_second_beside_validations():
    steps = {step: {"reward": 0.5} for step in range(1, 31)}
    steps[12] = {"reward": 0.5, "eval_accuracy": 0.25}
    lines = shown(steps, total=40, seconds=0.125)
    assert [line.split()[1] for line in lines] == ["1/40", "9/40", "12/40", "20/40", "28/40"]


def test_the_last_step_is_always_shown():
    lines = shown({step: {"reward": 0.5} for step in (1, 2, 3)}, total=3, seconds=0.1)
    assert [line.split()[1] for line in lines] == ["1/3", "3/3"]


def test_the_best_validation_stays_in_sight():
    steps = {
        0: {"eval_accuracy": 0.5},
        1: {"reward": 0.1, "eval_accuracy": 0.25},
        2: {"reward": 0.2},
    }
    assert "best validation 50.0%" in shown(steps, total=9, seconds=2)[-1]


def dull(share, **others):
    """A step in which this share of the groups has one score each."""
    return {"reward": 0.7, "frac_reward_zero_std": share} | others


def test_a_step_shows_the_share_of_groups_that_teach():
    assert figures(dull(0.125), None) == "reward 0.700  teaching 88%"
    assert figures(dull(1.0), None, in_groups=False) == "reward 0.700"


@pytest.mark.parametrize(
    ("kind", "advice"),
    [("wrong", "train.group_size"), ("graded", "rlpeft reward check"), ("correct", "harder")],
)
def test_scores_that_are_all_alike_are_told_of_once_and_early(kind, advice):
    step = dull(1.0, **{f"verdicts/{kind}": 8})
    said = " ".join(shown(dict.fromkeys(range(1, 20), step), total=40, seconds=2))
    assert said.count("nothing can be learned from these") == 1
    assert said.index("in the first 3 steps") < said.index("step 4/40")
    assert advice in said


def test_one_group_of_the_first_steps_that_teaches_is_enough():
    said = shown({1: dull(1.0), 2: dull(0.9), 3: dull(1.0)}, total=9, seconds=2)
    assert len(said) == 3


def test_a_run_that_ends_early_is_told_of_too():
    assert "in the first step" in " ".join(shown({1: dull(1.0)}, total=1, seconds=2))


def test_the_rate_of_a_continued_run_counts_its_own_steps_only():
    lines = shown({101: {"reward": 0.5}, 102: {"reward": 0.5}}, total=112, seconds=0.5 + 1)
    assert lines[-1].endswith("1.5 s/step  0:15 left")


def test_the_pace_of_one_among_several_is_of_steps():
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, width=80)
    with RunDisplay(4, whose="swap", console=console, clock=clock) as display:
        for step in (1, 2):
            clock.now += 2
            display.step(SimpleNamespace(step=step), {"reward": 0.5})
    assert out.getvalue().splitlines()[-1] == "swap: step 2/4  reward 0.500  2.0 s/step  0:04 left"


def test_a_terminal_shows_the_same_figures():
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True)
    with RunDisplay(2, console=console) as display:
        display.step(SimpleNamespace(step=2), {"reward": 0.625})
    assert "reward 0.625" in out.getvalue()
    assert "2/2" in out.getvalue()


def test_a_long_step_tells_how_far_its_groups_are():
    clock, out = Clock(), io.StringIO()
    with RunDisplay(4, console=Console(file=out, width=80), clock=clock) as display:
        display.step(SimpleNamespace(step=1), {"reward": 0.5})
        for done in range(1, 9):
            clock.now += 10
            display.groups(done, 32)
    assert out.getvalue().splitlines()[1:] == [
        "step 2/4  3/32 groups  10.0 s/group  4:50 left",
        "step 2/4  6/32 groups  10.0 s/group  4:20 left",
    ]


def test_a_terminal_shows_the_groups_of_a_step_that_takes_long():
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, width=120, force_terminal=True)
    with RunDisplay(2, console=console, clock=clock) as display:
        display.step(SimpleNamespace(step=1), {"reward": 0.625})
        clock.now += 0.5
        display.groups(1, 32)
        assert "groups" not in out.getvalue()
        clock.now += 15.5
        display.groups(8, 32)
        display._bar.refresh()
    assert "8/32 groups  2.0 s/group  0:48 left" in out.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("width", [60, 80, 109, 110, 200])
def test_a_long_runs_line_fits_the_terminal(is_terminal, width):
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=width, force_terminal=is_terminal, color_system=None)
    with RunDisplay(12000, console=console, clock=clock) as display:
        for step in (1, 2):
            found = {"reward": 0.123, "kl": 1.2e-05, "eval_accuracy": 0.981}
            display.step(SimpleNamespace(step=step), found)
            clock.now += 61
    assert "…" not in out.getvalue()
    plain = re.sub(r"\x1b\[[0-9?;]*[a-zA-Z]", "", out.getvalue())
    lines = [line.strip() for line in re.split(r"[\r\n]", plain)]
    assert max(map(len, lines)) <= width
    assert "validation 98.1%" in lines[-1] or "validation 98.1%" in lines[-2]


def test_a_narrow_terminal_loses_what_is_least_needed_first():
    shown, paced = "reward 0.500  kl 0.01  best validation 50.0%", "2.0 s/step  0:04 left"
    assert fitted(shown, paced, 80) == f"{shown}  {paced}"
    assert fitted(shown, paced, 60) == "reward 0.500  best validation 50.0%  2.0 s/step  0:04 left"
    assert fitted(shown, paced, 50) == "reward 0.500  best validation 50.0%  0:04 left"


def checkpoint(folder, step):
    (folder / "checkpoints" / f"step_{step:06d}").mkdir(parents=True)


def test_a_new_run_continues_nothing(tmp_path, capsys):
    with run_shown(tmp_path, 60) as display:
        display.step(SimpleNamespace(step=0), {})
    assert capsys.readouterr().err == "step 0/60\n"


def test_a_finished_run_says_that_nothing_ran(tmp_path, capsys):
    checkpoint(tmp_path, 60)
    with run_shown(tmp_path, 60):
        pass
    assert capsys.readouterr().err.startswith("nothing ran: ")


def test_a_terminal_shows_no_steps_of_a_run_that_was_finished():
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with RunDisplay(60, console=console, done=60):
        assert " 0/60" not in out.getvalue()
    shown = re.sub(r"\x1b\[2K|\x1b\[\?25[lh]", "", out.getvalue())
    assert shown.endswith("\x1b[1A")  # what was drawn is taken back


def test_ctrl_c_is_answered_with_the_command_that_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rlpeft", "train", "quickstart", "--set", "name=a b"])

    def interrupted():
        with run_shown(tmp_path, 60) as display:
            display.step(SimpleNamespace(step=1), {})
            raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        interrupted()
    assert caught.value.code == 130
    assert "rlpeft train quickstart --set 'name=a b'\n" in capsys.readouterr().err


def test_ctrl_c_in_the_test_says_what_is_kept_and_what_is_left_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rlpeft", "train", "quickstart"])
    checkpoint(tmp_path, 60)
    (tmp_path / "expert").mkdir()

    def interrupted():
        with run_shown(tmp_path, 60):
            raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        interrupted()
    assert caught.value.code == 130
    said = " ".join(capsys.readouterr().err.split())
    assert f"all 60 steps are done, their best is kept in {tmp_path / 'expert'}" in said
    assert said.endswith("to test it, which trains no more: rlpeft train quickstart")


def test_fast_steps_are_counted_by_the_second():
    assert pace(4.0, 480) == "4.0 steps/s  2:00 left"
    assert pace(0.5, 20, "iteration") == "2.0 s/iteration  0:40 left"


def test_no_pace_is_shown_before_there_is_one():
    assert pace(None, 10) == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(7, "0:07"), (59.7, "1:00"), (750, "12:30"), (11100, "3:05:00")]
)
def test_time_reads_as_a_clock(seconds, text):
    assert clock_time(seconds) == text


def test_words_to_a_run_that_goes_on_fit_the_terminal():
    out = io.StringIO()
    console = Console(file=out, width=40, force_terminal=True, color_system=None)
    RunDisplay(60, console=console).say("continuing from step 40 of", "runs/" + 30 * "x")
    assert out.getvalue().splitlines() == ["continuing from step 40 of", "  runs/" + 30 * "x"]
