"""Answers in the terminal: whatever a model wrote, in the terminal's columns."""

import io
import json
from functools import partial
from types import SimpleNamespace

import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cli.answers import answers_shown
from jobs.cli.console import RunDisplay
from rewards.verdict import Verdict, VerdictKind
from rlpeft.runs.records import RunRecorder
from rlpeft.types import AdvantagedGroup, Completion, FinishReason, Group, Problem

RECIPE = {"name": "sums"}
HOSTILE = "\x1b[2J\x1b]0;title\x07[red]4[/red]\nsecond a\u202eb" + "x" * 5000
CORRECT = Verdict(1.0, VerdictKind.CORRECT, "equal")
WRONG = Verdict(0.0, VerdictKind.WRONG, "5 is not 4")


def group(name, *answers, prompt="2+2="):
    """One problem with completions and their verdicts."""
    texts, verdicts = zip(*answers, strict=True)
    done = [Completion((5,), (-0.5,), text, FinishReason.STOP, 0, "d") for text in texts]
    asked = Group(Problem(name, prompt, "4"), (1,), tuple(done))
    learnt = {"advantages": (0.0,) * len(done), "trained": (True,) * len(done)}
    return AdvantagedGroup(asked, verdicts, {"exact": verdicts}, **learnt)


def record(folder, *groups):
    recorder = RunRecorder(folder, RECIPE)
    recorder.completions(1, groups)
    recorder.close()
    return folder


def shown(folder, number, *, width=80, is_terminal=False):
    """What is printed of step 1 of a run of four steps."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=is_terminal, color_system=None)
    below = partial(answers_shown, folder, number=number)
    with RunDisplay(4, below=below, console=console) as display:
        display.step(SimpleNamespace(step=1), {"reward": 0.5})
    return out.getvalue()


def test_an_answer_stands_below_its_step_with_gold_verdict_and_reason(tmp_path):
    record(tmp_path, group("sums/1", ("5", WRONG)))
    assert [line.split() for line in shown(tmp_path, 1).splitlines()] == [
        ["step", "1/4", "reward", "0.500"],
        ["prompt", "2+2="],
        ["answer", "5"],
        ["gold", "4"],
        ["verdict", "wrong,", "reward", "0:", "5", "is", "not", "4"],
    ]


def test_so_many_answers_are_shown_one_of_each_verdict_first_then_of_other_problems(tmp_path):
    groups = [group(f"sums/{n}", ("4", CORRECT), (f"no{n}", WRONG), ("4", CORRECT)) for n in (1, 2)]
    text = shown(record(tmp_path, *groups), 3)
    answers = [line.split()[1] for line in text.splitlines() if line.strip().startswith("answer")]
    assert answers == ["4", "no1", "4"]
    assert text.count("verdict") == 3


def test_no_character_of_an_answer_controls_the_terminal(tmp_path):
    record(tmp_path, group(HOSTILE, (HOSTILE, CORRECT), prompt=HOSTILE))
    text = shown(tmp_path, 1)
    assert set(text) & {"\x1b", "\x07", "\u202e"} == set()
    assert "⟨U+001B⟩[2J" in text
    assert "[red]4[/red]⏎second" in text


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("text", ["x" * 5000, "漢字" * 900, "a word " * 900])
def test_long_answers_fit_the_terminal_and_few_lines(tmp_path, width, text):
    lines = shown(record(tmp_path, group("sums/1", (text, CORRECT))), 1, width=width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) < 24


def test_a_long_prompt_is_shown_by_its_end(tmp_path):
    record(tmp_path, group("sums/1", ("4", CORRECT), prompt="start" + "." * 500 + "the end"))
    text = shown(tmp_path, 1)
    assert "start" not in text
    assert "the end" in text


def test_a_terminal_has_the_step_above_its_answers(tmp_path):
    text = shown(record(tmp_path, group("sums/1", ("4", CORRECT))), 1, is_terminal=True)
    assert -1 < text.find("step 1/4") < text.find("verdict")


def test_a_step_without_completions_shows_its_line_alone(tmp_path):
    assert shown(tmp_path, 3) == "step 1/4  reward 0.500\n"


@pytest.mark.slow
def test_train_shows_answers_on_the_error_stream_when_asked(quick, tmp_path):
    (tmp_path / "recipe.json").write_text(quick(train={"steps": 1}).model_dump_json())
    run = ["train", str(tmp_path / "recipe.json"), "--local", "--out", str(tmp_path / "run")]
    told = CliRunner().invoke(app, [*run, "--show", "2", "--json"])
    assert told.exit_code == 0, told.output
    assert told.stderr.count("  verdict ") == 2
    assert json.loads(told.stdout)["name"] == "quick"
