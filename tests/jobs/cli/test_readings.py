"""Prompts in a terminal: each token is told from its neighbours, no line is too long."""

import io
import json

import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cli.readings import print_readings, token_lines
from rlpeft.doctor.reading import AnswerEnds, Look, Reading
from rlpeft.tokens.pieces import Piece


def tokens(*texts):
    return [Piece(id, text) for id, text in enumerate(texts)]


def lines(*texts, width=80):
    return [line.plain for line in token_lines(tokens(*texts), width, "")]


def printed(look, **options):
    console = Console(file=io.StringIO(), width=80, **options)
    print_readings(look, console)
    return console.file.getvalue()


@pytest.fixture
def look():
    prompt = tokens("⟦<bos>⟧", "2", "␣+", "␣2")
    reading = Reading("p/1", prompt, "4", 0, tokens("4", "⟦<eos>⟧"), "2 tokens, all trained")
    return Look(1, [reading], AnswerEnds(tokens("⟦<eos>⟧"), ["⏎"], None))


def test_lines_end_where_those_of_the_text_end():
    assert lines("a", "⏎\n", "␣b", "c⏎\n⏎\n", "d") == ["  a│⏎", "  ␣b│c⏎⏎", "  d"]


def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost():
    texts = ["x" * 200, *["日本"] * 60, "⟦<|im_start|>⟧"]
    found = lines(*texts, width=40)
    assert max(map(cell_len, found)) <= 40
    assert "".join(line[2:] for line in found).replace("│", "") == "".join(texts)


def test_a_page_without_colours_says_all(look):
    page = printed(look, no_color=True, force_terminal=False)
    assert "\x1b" not in page
    assert "  ⟦<bos>⟧│2│␣+│␣2\n" in page
    assert "  4│⟦<eos>⟧\n" in page
    assert "an answer ends at ⟦<eos>⟧ (id 0) or the text ⏎\n" in page
    assert "gold answer '4': not found in the prompt\n" in page


def test_a_terminal_has_colours(look):
    assert "\x1b[" in printed(look, force_terminal=True)


def test_what_data_holds_is_no_markup(look):
    look.readings.append(Reading("[bold]x[/]", tokens("[red]"), "[/]", 2, (), "nothing"))
    page = printed(look, force_terminal=False)
    assert "prompt 2 of 2: [bold]x[/], 1 tokens" in page
    assert "  [red]\n" in page
    assert "gold answer '[/]': found 2 times in the prompt" in page


def test_what_data_holds_cannot_move_the_cursor(look):
    look.readings.append(Reading("a\x1b[2J", (), "\x1b[2J", 0, (), "nothing"))
    assert "\x1b" not in printed(look, force_terminal=False)


def test_a_recipe_that_could_not_be_read_shows_no_prompts():
    assert printed(Look(3)) == ""


@pytest.mark.slow
def test_the_command_shows_what_the_rollout_really_sampled():
    arguments = ["doctor", "quickstart", "--prompts", "2", "--json"]
    document = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert document["ends"]["tokens"] == [{"id": 2, "text": "⟦<eos>⟧"}]
    for prompt in document["prompts"]:
        assert prompt["prompt"][0] == {"id": 1, "text": "⟦<bos>⟧"}
        assert prompt["answer"]
        assert "all trained" in prompt["training"]
    assert len(document["prompts"]) == 2
