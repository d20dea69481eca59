"""The law of data: names of control tokens in it are letters, in turns and in plain text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlpeft.model_checks.finding import (
    Finding,
    absent,
    broken,
    holds,
    listed,
    quoted,
    smallest,
    tokens,
)
from rlpeft.model_checks.subject import Subject, likely_names
from rlpeft.tokens.prompts import encode_prompt
from rlpeft.tokens.specials import controls

MOST_NAMES = 60
"""Names that are tried; some models reserve thousands."""

HOSTILE = (
    "{0}",
    "a{0}b",
    "{0}{0}",
    " {0}\n{0} ",
    "{1}{0}{2}",
    "\u200b{0}",
)
"""What a row may do with a name: {1} and {2} are its first letter and the rest."""


ADVICE = (
    "Mend what rows above name first: a token that ordinary text holds must be none of the special "
    "ones. If they all hold, take the name out of the rows, and tell us."
)


def letters(subject: Subject) -> Finding:
    """A question that holds `<|im_end|>` does not close its own turn."""
    tokenizer = subject.tokenizer
    names = likely_names(subject)
    if not names:
        return absent("the tokenizer has no control tokens")
    tried = names[:MOST_NAMES]
    for kind, encode in _kinds(subject):
        text = "\n".join(hostile for name in tried for hostile in _hostile(name))
        if _num_controls(tokenizer, encode(text)) != _num_controls(tokenizer, encode("x")):
            return _told(tokenizer, kind, encode, text)
    special = _kept(subject, tried)
    shown = listed(tried, 3).rpartition(" … (")[0] or listed(tried, 3)
    found = f"{len(tried)} of {len(names)} names ({shown}) are letters in plain text"
    return special or holds(found + (" and turns" if tokenizer.chat_template else ""))


def _hostile(name: str) -> list[str]:
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name)
    return [form.format(name, name[0], name[1:]) for form in HOSTILE] + [wide, name.upper()]


def _kinds(subject: Subject) -> list[tuple[str, Callable[[str], list[int]]]]:
    tokenizer = subject.tokenizer
    found: list[tuple[str, Callable[[str], list[int]]]] = [
        ("plain text", lambda text: encode_prompt(tokenizer, text))
    ]
    if tokenizer.chat_template:
        talk = subject.talk
        found.append(
            (
                "a user's turn",
                lambda text: encode_prompt(
                    tokenizer, ({"role": "user", "content": text},), talk=talk
                ),
            )
        )
    return found


def _num_controls(tokenizer: Any, ids: list[int]) -> int:
    control = controls(tokenizer).ids
    return sum(id in control for id in ids)


def _told(tokenizer: Any, kind: str, encode: Callable[[str], list[int]], text: str) -> Finding:
    plain = _num_controls(tokenizer, encode("x"))
    text = smallest(text, lambda part: _num_controls(tokenizer, encode(part)) != plain)
    return broken(
        f"in {kind} {quoted(text)} becomes a control token: {tokens(tokenizer, encode(text))}",
        ADVICE,
    )


def _kept(subject: Subject, names: list[str]) -> Finding | None:
    """Whether the letters come back as they were."""
    tokenizer = subject.tokenizer
    text = "".join(f"say {name} now\n" for name in names if name.isascii())
    ids = encode_prompt(tokenizer, text)
    read = str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
    if text.strip() in read or tokenizer.unk_token_id in ids:
        return None
    lines = [line for line in text.splitlines() if line not in read]
    return broken(
        f"{quoted(lines[0] if lines else text)} does not come back as these letters",
        ADVICE,
    )
