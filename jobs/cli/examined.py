"""The table of an examination, a recipe's or a model's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rlpeft.typed import typeable


def examined(
    headings: tuple[str, str],
    rows: Iterable[tuple[str, str, str, str]],
    colours: Mapping[str, str],
) -> RenderableType:
    """A row for all that was looked at; what to do stands below what was found.

    Args:
        headings: of the first and the last column.
        rows: what was looked at, how that ended, what was found and what to do, which may be empty.
        colours: of each way to end.
    """
    shown = Table(box=SIMPLE_HEAD)
    for heading in (headings[0], "", headings[1]):
        shown.add_column(heading, overflow="fold")
    for name, ended, evidence, advice in rows:
        found = Text(typeable(evidence))
        if advice:
            found.append(typeable(f"\n→ {advice}"), style="bold")
        shown.add_row(Text(name), Text(ended, style=colours[ended]), found)
    return shown
