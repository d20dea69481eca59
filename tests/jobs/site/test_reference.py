import json
import re

import pytest
from typer.main import get_command

from jobs.cli import app
from jobs.site.reference import commands_page, notebook_page, options_page
from rlpeft.recipe.options import all_option_tables


@pytest.fixture(scope="module")
def commands():
    return commands_page()


def test_every_command_and_every_option_has_a_line(commands):
    for name, command in get_command(app).commands.items():
        members = getattr(command, "commands", {"": command})
        for member, leaf in members.items():
            assert f"## {f'rlpeft {name} {member}'.strip()}\n" in commands
            for parameter in leaf.params:
                assert parameter.opts[0].startswith("--") is False or parameter.opts[0] in commands


def test_help_holds_nothing_that_a_terminal_takes_for_markup():
    for name, command in get_command(app).commands.items():
        for leaf in getattr(command, "commands", {"": command}).values():
            told = [leaf.help or "", *(parameter.help or "" for parameter in leaf.params)]
            assert not re.search(r"\[[a-z#/@]", "\n".join(told)), name


def test_choices_of_an_option_are_shown_as_they_are_typed(commands):
    assert "`--kind <own|math|choice|code|label|environment>`" in commands


def test_every_option_of_a_recipe_is_shown_with_default_type_bounds_and_words():
    page = options_page()
    for table in all_option_tables():
        for option in table.options:
            assert f"| `{option.name}" in page
    assert "| `group_size = 8`<br>integer, ≥ 1 |" in page


def test_a_notebook_is_shown_as_text_and_code(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Look\n", "here"]},
        {"cell_type": "code", "source": ["1 + 1"], "outputs": [{"text": "2"}]},
    ]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}))
    shown = notebook_page(tmp_path / "n.ipynb")
    assert shown.startswith("# Look\nhere\n\n```python\n1 + 1\n```\n\n")
    assert shown.endswith("jobs/notebooks/n.ipynb`.\n")
