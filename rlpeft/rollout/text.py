"""Completions as text, the same for every engine: what their tokens add to the prompt's text.

A token may read differently behind others: SentencePiece drops the space before its first one, and
a character may take several tokens. So no completion is decoded alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice, takewhile
from typing import Any

TAIL = 8
"""Tokens of a prompt before a completion at first; more where these do not stand alone."""

SHOWN = 32
"""Tokens of a prompt that a completion remembers: a tag, letter by letter, and blanks behind it."""

MARGIN = 8
"""Tokens more than bytes are wanted: the first of some may be part of a character, or no text."""

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""How tokenizers write bytes that are no character."""


def completion_texts(
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    *,
    special_tokens: bool = False,
) -> list[str]:
    """The text of each completion behind its prompt, without special tokens unless wanted.

    Args:
        prompts: the token ids that each completion continues; not empty.
        completions: token ids.
    """
    tails = {prompt: _tail(tokenizer, prompt) for prompt in {tuple(ids) for ids in prompts}}
    before = [tails[tuple(prompt)] for prompt in prompts]
    joined = [[*tail, *ids] for (tail, _), ids in zip(before, completions, strict=True)]
    if special_tokens:  # those of a tail are part of its text, then
        before = [(tail, _decode(tokenizer, [tail], special_tokens=True)[0]) for tail, _ in before]
    texts = _decode(tokenizer, joined, special_tokens=special_tokens)
    return [_behind(said, text) for (_, said), text in zip(before, texts, strict=True)]


def latest_texts(
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    *,
    num_bytes: int,
    hidden: Collection[int],
) -> list[str]:
    """The end of each completion's text: its last `num_bytes` bytes, and some before them.

    Args:
        hidden: tokens that are not shown.
    """
    count = num_bytes + MARGIN
    found, short = [""] * len(prompts), []
    ends: dict[int, list[int]] = {}
    for place, ids in enumerate(completions):
        last = list(islice((id for id in reversed(ids) if id not in hidden), count))
        if len(last) < count:
            short.append(place)
        else:
            ends[place] = last[::-1]
    texts = completion_texts(
        tokenizer,
        [prompts[place] for place in short],
        [completions[place] for place in short],
        special_tokens=not hidden,
    )
    texts += _decode(tokenizer, list(ends.values()), special_tokens=True)
    for place, text in zip([*short, *ends], texts, strict=True):
        found[place] = text
    return found


def prompt_ends(tokenizer: Any, prompts: Sequence[Sequence[int]]) -> list[str]:
    """The last words of each prompt as the model reads them, special tokens included."""
    return _decode(tokenizer, [prompt[-SHOWN:] for prompt in prompts], special_tokens=True)


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


def _decode(
    tokenizer: Any, rows: Sequence[Sequence[int]], *, special_tokens: bool = False
) -> list[str]:
    if not rows:
        return []
    # `clean_up_tokenization_spaces`, which some models ask for, takes the space in `x = [ 'a' ]`.
    found: list[str] = tokenizer.batch_decode(
        [list(row) for row in rows],
        skip_special_tokens=not special_tokens,
        clean_up_tokenization_spaces=False,
    )
    return found
