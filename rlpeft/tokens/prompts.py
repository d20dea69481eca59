"""Prompts as token ids: exactly what the model shall see, and nothing that data may forge.

What a tokenizer itself puts before text (BOS, other prefix tokens) opens every plain prompt. Names
of control tokens in rows and turns are letters, unless a task asks for tokens; a template of the
model's may write them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlpeft.errors import DataError, ModelError
from rlpeft.tokens.chat import Talk
from rlpeft.tokens.specials import controls, encode_guarded, guard, require_unicode, short, unguard
from rlpeft.types import Prompt


def prefix_ids(tokenizer: Any) -> list[int]:
    """What the tokenizer itself puts before text: BOS, others, or nothing.

    Having a BOS does not mean using it.

    Raises:
        ModelError: it does more to text than to put tokens around it.
    """
    whole, bare = tokenizer("1")["input_ids"], encode_text(tokenizer, "1")
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return list(whole[:start])
    raise ModelError(
        f"the model's tokenizer must put its special tokens around the tokens of a text, it makes "
        f"{whole} of {bare}. Save the tokenizer that belongs to the model."
    )


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts its BOS before plain text."""
    return tokenizer.bos_token_id is not None and tokenizer.bos_token_id in prefix_ids(tokenizer)


def encode_prompt(
    tokenizer: Any,
    prompt: Prompt,
    *,
    special_tokens: bool = False,
    talk: Talk | None = None,
    prefix: Sequence[int] | None = None,
) -> list[int]:
    """Token ids exactly as the model shall see them.

    Plain text opens with what the tokenizer puts before text, once. Chat turns open with what the
    template writes, and with that prefix if it holds a BOS: once, whatever the template writes.
    They end where the model answers; a last turn by the assistant is a prefill, and ends them
    character for character.

    Args:
        special_tokens: names of control tokens in the prompt are those tokens.
        talk: the model's template as the recipe wants it.
        prefix: what `prefix_ids` gives for this tokenizer, where that is known.

    Raises:
        DataError: an empty prompt, turns which the template refuses or loses, text that is no
            Unicode.
        ModelError: chat turns for a tokenizer without a chat template.
    """
    text = written_prompt(tokenizer, prompt, special_tokens=special_tokens, talk=talk)
    return prompt_ids(tokenizer, prompt, text, special_tokens=special_tokens, prefix=prefix)


def written_prompt(
    tokenizer: Any,
    prompt: Prompt,
    *,
    special_tokens: bool = False,
    talk: Talk | None = None,
    opening: str = "",
) -> str:
    """The text of a prompt, data in it guarded (`tokens.specials`) unless `special_tokens`.

    Args:
        opening: names of control tokens, before the text or that of the first turn by the user.

    Raises:
        DataError: there is an opening, and no turn by the user.
    """
    if isinstance(prompt, str):
        return opening + str(data_text(tokenizer, prompt, special_tokens=special_tokens))
    turns = data_text(tokenizer, list(prompt), special_tokens=special_tokens)
    if opening:
        turns = opened_by(turns, opening)
    return (talk or Talk(tokenizer)).prompt(turns)


def opened_by(turns: Sequence[Mapping[str, Any]], opening: str) -> list[dict[str, Any]]:
    """The turns with a text before that of the first one by the user.

    Raises:
        DataError: there is none.
    """
    found = [dict(turn) for turn in turns]
    first = next((turn for turn in found if turn.get("role") == "user"), None)
    if first is None:
        raise DataError("a prompt that shows images must have a turn by the user, it has none.")
    first["content"] = opening + first["content"]
    return found


def data_text(tokenizer: Any, data: Any, *, special_tokens: bool) -> Any:
    """Text of a row, or turns with text in them, guarded unless special tokens are wanted."""
    if isinstance(data, Mapping):
        # Keys too: templates write those of a tool's arguments.
        pairs = [data_text(tokenizer, pair, special_tokens=special_tokens) for pair in data.items()]
        return dict(pairs)
    if isinstance(data, list | tuple):
        return [data_text(tokenizer, part, special_tokens=special_tokens) for part in data]
    if not isinstance(data, str):
        return data
    if not special_tokens:
        return guard(tokenizer, data)
    require_unicode(data)
    return data


def prompt_ids(
    tokenizer: Any,
    prompt: Prompt,
    text: str,
    *,
    special_tokens: bool = False,
    prefix: Sequence[int] | None = None,
) -> list[int]:
    """Token ids of a written prompt; see `encode_prompt`."""
    ids = text_ids(tokenizer, text, special_tokens=special_tokens)
    prefix = prefix_ids(tokenizer) if prefix is None else prefix
    plain = isinstance(prompt, str)
    if plain and not special_tokens:
        ids = [*prefix, *ids]
    elif prefix and (plain or tokenizer.bos_token_id in prefix):
        # Written already, whole, in part or twice: each prefix token stands there once.
        start = 0
        while start < len(ids) and ids[start] in prefix:
            start += 1
        ids = [*prefix, *ids[start:]]
    if not ids:
        raise DataError(f"prompt must hold at least one token, got {prompt!r}.")
    return ids


def text_ids(tokenizer: Any, text: str, *, special_tokens: bool) -> list[int]:
    """Token ids of a written text."""
    return (encode_text if special_tokens else encode_guarded)(tokenizer, text)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text as the tokenizer reads it, without special tokens around it.

    Raises:
        DataError: it holds half of a surrogate pair, which no tokenizer reads.
    """
    require_unicode(text)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def turn_end(tokenizer: Any, turns: Sequence[Any], talk: Talk | None = None) -> int | None:
    """The token that the template writes after the assistant's answer; `None` if it writes none.

    Raises: as `encode_prompt`.
    """
    text = (talk or Talk(tokenizer)).ending(data_text(tokenizer, turns, special_tokens=False))
    control = controls(tokenizer).ids
    return next((id for id in encode_guarded(tokenizer, text) if id in control), None)


def continuation_ids(
    tokenizer: Any, prompt: Prompt, text: str, completion: str, *, special_tokens: bool = False
) -> list[int]:
    """Token ids of what follows a prompt, as if they had been sampled after it.

    Prompt and completion decode to the one text after the other: a tokenizer that puts a blank
    before a text of its own (SentencePiece) puts none here.

    Args:
        text: the written prompt.
        completion: what the model shall write, guarded unless `special_tokens`.

    Raises:
        ModelError: the tokenizer has no tokens for it at this place.
    """
    ids = prompt_ids(tokenizer, prompt, text, special_tokens=special_tokens)
    said = data_text(tokenizer, completion, special_tokens=special_tokens)
    whole = prompt_ids(tokenizer, prompt, text + said, special_tokens=special_tokens)
    found = [whole[len(ids) :]] if whole[: len(ids)] == ids else []
    found += _after_anchors(tokenizer, said, special_tokens=special_tokens)
    wanted = _decode(tokenizer, ids) + completion
    for tokens in found:
        if _decode(tokenizer, [*ids, *tokens]) == wanted:
            return tokens
    # Some tokenizers keep no text (they fold case, or blanks): none of their tokens give it back.
    if _decode(tokenizer, text_ids(tokenizer, said, special_tokens=special_tokens)) != completion:
        return found[0]
    raise ModelError(
        f"the model's tokenizer must be able to write {short(completion, 60)} after the prompt "
        f"{short(text[-60:], 60)}, none of its tokens do. Let prompt or completion end and begin "
        "elsewhere."
    )


def appended_ids(tokenizer: Any, before: Sequence[int], said: str) -> list[int]:
    """Token ids of guarded text behind tokens that stand as they are.

    Args:
        before: what it follows, or the end of that.
    """
    wanted = _decode(tokenizer, before) + unguard(said)
    found = list(_after_anchors(tokenizer, said, special_tokens=False))
    fits = (ids for ids in found if _decode(tokenizer, [*before, *ids]) == wanted)
    return next(fits, found[0])


ANCHORS = ("", "\n", "1", ".")
"""Text after which a completion is tokenised where its prompt would melt into it."""


def _after_anchors(tokenizer: Any, said: str, *, special_tokens: bool) -> Iterator[list[int]]:
    for anchor in ANCHORS:
        before = text_ids(tokenizer, anchor, special_tokens=special_tokens)
        ids = text_ids(tokenizer, anchor + said, special_tokens=special_tokens)
        if ids[: len(before)] == before:
            yield ids[len(before) :]


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def decode_prompt(tokenizer: Any, ids: Sequence[int], talk: Talk | None = None) -> str:
    """What a prompt says, from its token ids.

    Of one turn by a user what that user wrote, without the words that the chat template puts
    around it; of anything else all text without special tokens.
    """
    if tokenizer.chat_template:
        mark = "\N{OBJECT REPLACEMENT CHARACTER}"
        turn = ({"role": "user", "content": mark},)
        talk = talk or Talk(tokenizer)
        before, _, after = talk.prompt(turn).partition(mark)
        bos = tokenizer.bos_token or ""
        before, said = before.removeprefix(bos), tokenizer.decode(ids).removeprefix(bos)
        if len(said) > len(before + after) and said.startswith(before) and said.endswith(after):
            control = controls(tokenizer).ids
            written = sum(id in control for id in encode_prompt(tokenizer, turn, talk=talk))
            if sum(id in control for id in ids) == written:  # no other turn's
                return str(said[len(before) : len(said) - len(after)])
    return str(tokenizer.decode(ids, skip_special_tokens=True))
