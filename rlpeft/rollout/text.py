"""Completions as text, the same for every engine: what their tokens add to the prompt's text.

A token may read differently behind others: SentencePiece drops the space before its first one, and
a character may take several tokens. So no completion is decoded alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

TAIL = 8
"""Tokens of a prompt before a completion at first; more where these do not stand alone."""

SHOWN = 32
"""Tokens of a prompt that a completion remembers: a tag, letter by letter, and blanks behind it."""

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""How tokenizers write bytes that are no character."""


def completion_texts(
    tokenizer: Any, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]
) -> list[str]:
    """The text of each completion behind its prompt, without special tokens.

    Args:
        prompts: the token ids that each completion continues; not empty.
        completions: token ids.
    """
    tails = {prompt: _tail(tokenizer, prompt) for prompt in {tuple(ids) for ids in prompts}}
    before = [tails[tuple(prompt)] for prompt in prompts]
    joined = [[*tail, *ids] for (tail, _), ids in zip(before, completions, strict=True)]
    texts = _decode(tokenizer, joined)
    return [_behind(said, text) for (_, said), text in zip(before, texts, strict=True)]


def prompt_ends(tokenizer: Any, prompts: Sequence[Sequence[int]]) -> list[str]:
    """The last words of each prompt as the model reads them, special tokens included."""
    found: list[str] = tokenizer.batch_decode(
        [list(prompt[-SHOWN:]) for prompt in prompts], clean_up_tokenization_spaces=False
    )
    return found


def _behind(said: str, text: str) -> str:
    """What `text` adds to `said`, which it begins with, but for a character that ends in it."""
    common = takewhile(lambda pair: pair[0] == pair[1], zip(said, text, strict=False))
    return text[sum(1 for _ in common) :]


def _tail(tokenizer: Any, prompt: Sequence[int]) -> tuple[Sequence[int], str]:
    """The end of a prompt that reads as it does behind all the rest, and its text."""
    count = TAIL
    while True:
        tail = prompt[-count:]
        (text,) = _decode(tokenizer, [tail])
        # Special tokens alone have no text, and what follows them would seem to come first.
        if (text and BROKEN not in text) or len(tail) == len(prompt):
            return tail, text
        count *= 2


def _decode(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    # `clean_up_tokenization_spaces`, which some models ask for, takes the space in `x = [ 'a' ]`.
    found: list[str] = tokenizer.batch_decode(
        [list(row) for row in rows], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return found
