"""Where commands draw tables: what strangers wrote is shown, and no terminal obeys it.

Cards of experts, names of tasks, records of runs come from others. Rich passes their control
characters on, and takes `[…]` in them for its own markup.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from rlpeft.terminal import printable


class Screen(Console):
    """Rich's console, for texts that are not ours.

    Args:
        stderr: the error stream, beside what a command is asked for.
        width: columns; those of the terminal if absent.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Rich's segments, in which all but Rich's own control codes is printable."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text), style)
