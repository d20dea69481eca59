"""What ends a completion before its limit: ids of tokens, and strings that tokens spell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Stops:
    """Stop strings as engines take them.

    Attributes:
        token_ids: of the strings that are special tokens, which no decoded text shows.
        strings: the others, to be looked for in the text.
        hold_special: whether one of the strings has a special token among others, so that the text
            must show these; a plain string is not to be found in the name of one.
    """

    token_ids: tuple[int, ...] = ()
    strings: tuple[str, ...] = ()
    hold_special: bool = False


def read_stops(tokenizer: Any, stop: Sequence[str]) -> Stops:
    """Tell stop strings that are special tokens from those that are text."""
    if not stop:
        return Stops()
    special = special_tokens(tokenizer)
    ids = tuple(special[text] for text in stop if text in special)
    strings = tuple(text for text in stop if text not in special)
    return Stops(ids, strings, any(token in text for text in strings for token in special))


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Every special token and its id, those without a role in the tokenizer included."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    found = {str(token): int(index) for index, token in added.items() if token.special}
    named = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    return found | dict(named)
