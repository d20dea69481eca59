"""Laws of ends: what ends a completion, what ends a turn, and what supervised rows teach."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from rlpeft.model_checks.finding import Finding, absent, broken, holds, quoted, tokens
from rlpeft.model_checks.subject import PLAIN, USER, Subject
from rlpeft.rollout.text import completion_texts
from rlpeft.tokens.eos import eos_sources
from rlpeft.tokens.prompts import (
    continuation_ids,
    encode_prompt,
    encode_text,
    turn_end,
    written_prompt,
)
from rlpeft.tokens.specials import controls

MARK = re.compile(r"<\|[^|<>\s]+\|>|</?s>|<(end|start)_of_turn>|<eos>")
"""What templates write for ends of turns: tokens, in the tokenizer that they belong to."""

ANSWERS = ("42", " 42", "  42", "\n    return 42\n", "x = [ 'a' ] !", "<b>é</b>")
"""Answers that rows teach: text after which no blank may appear or go."""


def ends(subject: Subject) -> Finding:
    """Every end that tokenizer and configs name ends a completion, and is a token for it."""
    tokenizer, control = subject.tokenizer, controls(subject.tokenizer).ids
    by_id: dict[int, list[str]] = {}
    named = subject.eos
    for source, ids in eos_sources(subject.folder, tokenizer).items():
        for id in ids:
            by_id.setdefault(id, []).append(source)
    assert by_id.keys() == named
    found = "; ".join(f"{_named(tokenizer, id)} ({', '.join(by_id[id])})" for id in sorted(by_id))
    if unnamed := [id for id in by_id if tokenizer.convert_ids_to_tokens(id) is None]:
        return broken(
            f"{found}; the tokenizer has no token {unnamed[0]}",
            "Correct eos_token_id in generation_config.json and config.json.",
        )
    if words := [id for id in by_id if id not in control or _is_text(tokenizer, id)]:
        return broken(
            f"{found}; {_named(tokenizer, words[0])} is ordinary text, and ends answers",
            "Correct eos_token_id in generation_config.json and config.json.",
        )
    return holds(f"completions end at {found}")


ENCLOSED = re.compile(r"[<\[{|｜].*[>\]}|｜]", re.DOTALL)
"""How names of control tokens are written."""


def _is_text(tokenizer: Any, id: int) -> bool:
    """Whether ordinary text holds the token: without added tokens the same piece is made of it.

    A word that is named as an end or as padding is made special by that, and so lost in text.
    """
    from tokenizers import Tokenizer

    name = str(tokenizer.convert_ids_to_tokens(id))
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if ENCLOSED.fullmatch(name) or not isinstance(fast, Tokenizer):
        return False
    if fast.get_vocab(with_added_tokens=False).get(name) != id:
        return False
    bare = Tokenizer.from_str(json.dumps({**json.loads(fast.to_str()), "added_tokens": []}))
    text = name if fast.decoder is None else fast.decoder.decode([name])
    return list(bare.encode(text, add_special_tokens=False).ids) == [id]


def _named(tokenizer: Any, id: int) -> str:
    return f"{id} {tokens(tokenizer, [id])}"


def turn_ends(subject: Subject) -> Finding:
    """What the template writes after an assistant's turn ends a completion."""
    tokenizer = subject.tokenizer
    end = turn_end(tokenizer, (USER,), subject.talk)
    text = quoted(subject.talk.ending((USER,)))
    if end is None and (mark := MARK.search(subject.talk.ending((USER,)))):
        ids = encode_text(tokenizer, mark[0])
        return broken(
            f"the template writes {quoted(mark[0])} after an answer, which is no token here but "
            f"{tokens(tokenizer, ids)}",
            "Take the template that belongs to the tokenizer, or add the token to both.",
        )
    if end is None:
        return absent(
            f"the template writes {text} after an answer, and no control token; supervised rows "
            "end with the tokenizer's end of sequence"
        )
    if end in subject.eos:
        return holds(f"a turn ends with {tokens(tokenizer, [end])}, which ends a completion")
    return broken(
        f"a turn ends with {_named(tokenizer, end)}, completions end at "
        f"{tokens(tokenizer, sorted(subject.eos))}: they would go on into turns of their own",
        f"Add {end} to eos_token_id in generation_config.json, or "
        f"{quoted(str(tokenizer.convert_ids_to_tokens(end)))} to rollout.stop.",
    )


def taught(subject: Subject) -> Finding:
    """Answers of supervised rows are tokens that read as the answer where sampling would begin."""
    tokenizer = subject.tokenizer
    count = 0
    for prompt in _prompts(subject):
        text = written_prompt(tokenizer, prompt, talk=subject.talk)
        ids = encode_prompt(tokenizer, prompt, talk=subject.talk)
        bridge = "" if isinstance(prompt, str) else subject.talk.bridge(prompt)
        for answer in ANSWERS:
            said = continuation_ids(tokenizer, prompt, text, bridge + answer)
            (read,) = completion_texts(tokenizer, [ids], [said])
            count += 1
            if read != bridge + answer:
                return broken(
                    f"after {quoted(text[-40:])} the answer {quoted(answer)} is taught as "
                    f"{tokens(tokenizer, said)}, which reads {quoted(read)}",
                    "Take answers that the tokenizer keeps, or the model's own tokenizer.",
                )
    if found := _hidden_tags(subject):
        return found
    return holds(f"{count} answers read as they were written, each behind its prompt's tokens")


TAG = re.compile(
    r"</?(think|thinking|thoughts?|reason|reasoning|answer|solution|final|result|output|step"
    r"|scratchpad|reflection|search|tool_call)>"
)
"""Tags that rewards of a form look for in answers."""


def _hidden_tags(subject: Subject) -> Finding | None:
    """Tags in answers that are special tokens, if text without special tokens lacks them."""
    tokenizer = subject.tokenizer
    prompt = encode_prompt(tokenizer, PLAIN)
    for id, token in sorted(getattr(tokenizer, "added_tokens_decoder", {}).items()):
        if not TAG.fullmatch(token.content) or id in subject.eos:
            continue
        said = [id, *encode_text(tokenizer, "2")]
        (read,) = completion_texts(tokenizer, [prompt], [said])
        if token.content not in read:
            return broken(
                f"an answer of {tokens(tokenizer, said)} reads {quoted(read)}: the tag is a "
                "special token, and rewards that look for it never see it",
                'Set "special": false for it in tokenizer.json and tokenizer_config.json.',
            )
    return None


def _prompts(subject: Subject) -> Iterator[Any]:
    yield from (PLAIN, "Q: 17 + 25\nA:", "x = ")
    if subject.tokenizer.chat_template:
        yield (USER,)


def padding(subject: Subject) -> Finding:
    """A padding token that is an end hides none: masks come from lengths."""
    pad = subject.tokenizer.pad_token_id
    if pad is None:
        return absent("the tokenizer names neither padding nor end")
    if _is_text(subject.tokenizer, pad):
        return broken(
            f"pads with {_named(subject.tokenizer, pad)}, which is ordinary text: as a special "
            "token it is lost where text is read, and taken out of words that are made of it",
            "Name a token that no text holds as pad_token, or the end of sequence.",
        )
    shared = ", an end too, which stays: masks come from lengths" if pad in subject.eos else ""
    return holds(f"pads with {_named(subject.tokenizer, pad)}{shared}")
