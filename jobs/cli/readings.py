"""Prompts as the model reads them, for a terminal: every token is seen, with colours or without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from rlpeft.tokens.pieces import BETWEEN, LEGEND, LINE_END, Piece, shown

if TYPE_CHECKING:
    from rlpeft.doctor.reading import AnswerEnds, Look, Reading

HEAD, TAIL = 400, 100
"""Tokens shown of a longer prompt or answer: its start, and its end. JSON has them all."""

INDENT = "  "
CONTROL, TRAINED, MARK = "bold magenta", "green", "dim"


def print_readings(look: Look, console: Console) -> None:
    """What ends an answer, then each prompt with what would be trained after it."""
    if look.ends is None:
        return
    _say(console, f"{BETWEEN} between tokens   {'   '.join(LEGEND)}", MARK)
    _say(console, f"an answer ends at {_ends(look.ends)}")
    if look.ends.written is not None:
        _say(console, f"after one the chat template writes {_named(look.ends.written)}")
    for number, reading in enumerate(look.readings, 1):
        console.print()
        title = f"prompt {number} of {len(look.readings)}: {shown(reading.problem)}"
        _say(console, f"{title}, {len(reading.prompt):,} tokens", "bold")
        _print_tokens(console, reading.prompt, "")
        _say(console, _gold(reading))
        _say(console, reading.training, "bold")
        _print_tokens(console, reading.answer, TRAINED)


def _ends(found: AnswerEnds) -> str:
    return " or ".join([*map(_named, found.tokens), *(f"the text {s}" for s in found.strings)])


def _named(piece: Piece) -> str:
    return f"{piece.text.strip()} (id {piece.id})"


def _gold(reading: Reading) -> str:
    if not reading.gold.strip():
        return "no gold answer"
    where = f"found {reading.gold_count} times in" if reading.gold_count else "not found in"
    where = "found once in" if reading.gold_count == 1 else where
    return f"gold answer {reading.gold!r:.200}: {where} the prompt"


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(line, style=style))


def _print_tokens(console: Console, tokens: Sequence[Piece], style: str) -> None:
    start, end = tokens, tokens[:0]
    if len(tokens) > HEAD + TAIL:
        start, end = tokens[:HEAD], tokens[-TAIL:]
    for line in token_lines(start, console.width, style):
        console.print(line, no_wrap=True)
    if end:
        left = len(tokens) - HEAD - TAIL
        console.print(Text(f"{INDENT}[… {left:,} tokens left out …]", style=MARK))
        for line in token_lines(end, console.width, style):
            console.print(line, no_wrap=True)


def token_lines(tokens: Sequence[Piece], width: int, style: str) -> Iterator[Text]:
    """Tokens in lines of so many columns: they end where the text's lines end, else where full.

    Args:
        style: of tokens that are no control tokens.
    """
    line, last = Text(INDENT), len(tokens) - 1
    for place, token in enumerate(tokens):
        colour = CONTROL if token.is_control else style
        for part in _parts(token.text, width - len(INDENT) - 1):
            if line.cell_len + cell_len(part) + 1 > width:
                yield line
                line = Text(INDENT)
            line.append(part, style=colour)
        if not token.text.endswith("\n"):
            line.append(BETWEEN if place < last else "", style=MARK)
        else:
            yield line
            line = Text(INDENT)
    if line.plain != INDENT:
        yield line


def _parts(text: str, width: int) -> list[str]:
    """The token without its line ends (their marks stay), in pieces that fit a line."""
    return chop_cells(text.replace("\n", ""), max(width, 1)) or [LINE_END]
