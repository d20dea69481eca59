"""Pages that the code itself has written: every command, every option of a recipe, notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from jobs.cli import app
from rlpeft.recipe.options import Option, OptionTable, all_option_tables, option_tables
from rlpeft.recipe.reward_options import reward_option_tables
from rlpeft.recipe.study import StudyRecipe
from rlpeft.tasks.catalogue import task_option_tables


def commands_page() -> str:
    """Every command with what `--help` says of it."""
    lines = [
        "# Commands",
        "",
        "What `--help` says of each. A mistake is one line and exit code 1 (an option that is "
        "unknown, or takes no such value: a few lines and exit code 2); `--set` reaches every "
        "[option of a recipe](options.md).",
        "",
    ]
    for path, command in _leaves("rlpeft", get_command(app)):
        lines += _command(path, command)
    return "\n".join(lines)


def _leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, member in command.commands.items():
        yield from _leaves(f"{path} {name}", member)


def _command(path: str, command: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=path, parent=None)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    yield from (f"## {path}", "", "```text", usage, "```", "")
    for paragraph in (command.help or "").split("\n\n"):
        is_typed = paragraph.startswith("rlpeft ") and "." not in paragraph[-1:]
        yield from (["```text", paragraph, "```", ""] if is_typed else [_plain(paragraph), ""])
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [(f"`{name}`", doc) for name, doc in filter(None, records)]
    yield from _table("argument or option", rows)


def options_page() -> str:
    """Every option of every recipe, as `rlpeft recipe` lists them."""
    of_rows = [*task_option_tables(), *reward_option_tables()]
    lines = [
        "# Options of a recipe",
        "",
        "What `rlpeft recipe` lists: first those of `rlpeft train`, `sft` and `adapt`, then those "
        "of tasks, of rewards that are built in, and of a [study](studies.md). Where no default "
        "stands, an option is absent unless it is given. `--set section.key=value` changes one.",
        "",
    ]
    for table in [*all_option_tables(), *of_rows]:
        lines += _options(table)
    lines += ["## Of a study", ""]
    for table in option_tables(StudyRecipe):
        lines += _options(table)
    return "\n".join(lines)


def _options(table: OptionTable) -> Iterator[str]:
    head = " ".join(filter(None, [table.header, table.given]))
    yield from ([f"### `{head}`", ""] if head else [])
    yield from (_plain(table.doc), "")
    yield from _table("key", ((_declared(option), option.doc) for option in table.options))


def _declared(option: Option) -> str:
    value = f" = {option.default}" if option.default else ""
    facts = [option.type, option.bounds, "must be given" if option.required else ""]
    return f"`{option.name}{value}`<br>{_plain(', '.join(filter(None, facts)))}"


def _table(heading: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    rows = [*rows]
    if rows:
        yield from (f"| {heading} | what it does |", "|---|---|")
        yield from (f"| {name} | {' '.join(_plain(doc).split())} |" for name, doc in rows)
        yield ""


def _plain(text: str) -> str:
    """Prose of the code as text: outside of backticks nothing in it is markup."""
    parts = text.split("`")
    for number in range(0, len(parts), 2):
        for sign in "\\*_<[|$":
            parts[number] = parts[number].replace(sign, f"\\{sign}")
    return "`".join(parts)


def notebook_page(notebook: Path) -> str:
    """A notebook as text and code, without what its cells print, and where its file lies."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
    shown = [f"```python\n{text}\n```" if code else text for text, code in texts]
    return "\n\n".join([*shown, f"To run it: `jobs/notebooks/{notebook.name}`."]) + "\n"
