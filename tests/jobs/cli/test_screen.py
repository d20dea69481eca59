"""What strangers wrote reaches a terminal as text: nothing of it is obeyed."""

import io
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import jobs.cli
from jobs.cli.screen import Screen

HOSTILE = "a\x1b]0;owned\x07\x1b[2Jb\x9b31m\u202ec\r[/d]\ud800:x:"


def drawn(renderable):
    screen = Screen(width=200)
    screen.file = io.StringIO()
    screen.print(renderable)
    return screen.file.getvalue()


def in_table(text):
    table = Table("column of the text", title=text)
    table.add_row(text)
    table.add_row(80 * "wide ")  # what is spelled out is longer than Rich knows
    return table


@pytest.mark.parametrize("wrapped", [str, Text, Panel, in_table])
def test_control_characters_and_markup_are_shown_as_they_are_written(wrapped):
    text = drawn(wrapped(HOSTILE))
    assert not set(text) & set("\x1b\x07\x9b\u202e\r\ud800")
    assert r"a\x1b]0;owned\x1b[2Jb\x9b31m\u202ec[/d]\ud800:x:" in text  # Rich drops bells itself


def test_styles_of_ours_reach_a_terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1mour own\x1b[0m" in drawn(Text("our own", style="bold"))


def test_no_command_draws_on_another_console():
    """`jobs.cli.bench` has figures of its own alone, and Rich's markup in its tables."""
    sources = Path(jobs.cli.__file__).parent.glob("*.py")
    users = {path.name for path in sources if "Console(" in path.read_text()}
    assert users == {"bench.py"}
