"""Help as a terminal of 80 columns shows it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest
import typer
from typer.testing import CliRunner

from jobs.cli import app

WIDTH = 80
BOX = "╭│╰"


def commands(group: typer.Typer, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for command in group.registered_commands:
        yield (*path, command.name or command.callback.__name__)
    for member in group.registered_groups:
        yield from commands(member.typer_instance, (*path, member.name))


@pytest.mark.parametrize("command", [(), *commands(app)], ids=" ".join)
def test_help_fills_the_lines_of_a_narrow_terminal_and_no_more(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": str(WIDTH)}).stdout
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(map(len, lines)) <= WIDTH
    for line, following in pairwise(lines):
        if line and following and not {line[0], following[0]} & {*BOX}:
            word = following.split()[0]
            assert len(line) + 1 + len(word) >= WIDTH - 1, f"{word!r} fits behind {line!r}"


def test_help_is_shown_before_any_library_is_loaded_that_only_work_needs() -> None:
    heavy = "{'pydantic', 'numpy', 'yaml', 'datasets', 'pyarrow', 'transformers', 'torch', 'ray'}"
    heavy += " | {'psutil', 'importlib.metadata'}"
    code = (
        "import sys; sys.argv = ['rlpeft', '--help']\nfrom jobs.cli import main\n"
        f"try: main()\nexcept SystemExit: sys.exit(str(({heavy}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "set()"
