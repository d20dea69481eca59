"""What is printed fits its place: sentences are broken, paths and commands never."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from rlpeft.terminal import note, printable, say, telling_of, terminal_width

COMMAND = "rlpeft export runs/quickstart/expert --format merged --out somewhere/quickstart-merged"


@pytest.mark.parametrize("columns", [None, "60", "200"])
def test_sentences_fit_the_terminal_or_a_pipe_of_80_columns(columns, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    assert terminal_width() == int(columns or 80)
    say("word " * 60)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= terminal_width()
    assert printed.split() == ["word"] * 60


def test_what_is_copied_has_a_line_of_its_own_where_there_is_no_room(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    say("next:", COMMAND)
    say("next:", "rlpeft env")
    assert capsys.readouterr().out == f"next:\n  {COMMAND}\nnext: rlpeft env\n"


def test_notes_go_to_the_error_stream(capsys):
    note("so it is")
    assert capsys.readouterr() == ("", "note: so it is\n")


def test_sentences_of_one_among_several_begin_with_its_name(capsys):
    with ThreadPoolExecutor(1) as threads, telling_of("swap"):
        say("Testing.")
        note("so it is")
        threads.submit(say, "of nobody").result()
    say("all are done")
    told = capsys.readouterr()
    assert told.out == "swap: Testing.\nof nobody\nall are done\n"
    assert told.err == "swap: note: so it is\n"


def test_nothing_that_a_terminal_would_obey_is_printed(capsys):
    say("a\x1b[2Jb\x07 \u202ec\ud800", "rlpeft \x9b31m")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\x07 \\u202ec\\ud800 rlpeft \\x9b31m\n"


def test_letters_of_any_language_stay_as_they_are():
    text = "naïve\tquestion: نمی‌دانم 👩‍🔬 「日本　語」"
    assert printable(text) == text
