"""Laws of a chat template: it is a program, and loses, adds and trims without a word."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from rlpeft.chat import ChatForm, Talk
from rlpeft.checks.laws.finding import Finding, absent, broken, holds, quoted, refused, tokens
from rlpeft.checks.laws.subject import USER, Subject
from rlpeft.checks.laws.text import and_back
from rlpeft.errors import DataError
from rlpeft.prompts import encode_prompt, prefix_ids
from rlpeft.types import Prompt

ANSWER = {"role": "assistant", "content": "It is forty-two."}
AGAIN = {"role": "user", "content": "And 18 + 25?"}
SYSTEM = {"role": "system", "content": "Answer with a number only."}

CONTENTS = (
    "Is x < 3 && y > 2? <b>&amp;</b>",
    "{{ bos_token }} {% if x %} ${y}",
    "def f(x):\n    if x:\n        return [1, 2]\n\n\nprint( f(1) )",
    "  two blanks before and behind  ",
    "\n\nlines before and behind\n\n",
    "<think>no thought</think> a\\nb 'c' \"d\" é 🙂",
)
"""What users write: markup, braces, code and blanks, all of which must reach the model."""

PREFILLS = (
    "Answer:",
    " 42",
    "```python\ndef f(x):\n    ",
    "<answer>",
    "<think>\n",
    "1.\n\n",
    "Let me see. ",
)
"""Beginnings of answers; templates trim what they are given, and models stumble over that."""


def turns(subject: Subject) -> Finding:
    """Every turn's text stands in the prompt, in order, as transformers itself tokenises it."""
    talk, tokenizer = subject.talk, subject.tokenizer
    for talked in ((USER,), (USER, ANSWER, AGAIN)):
        text, at = talk.prompt(talked), 0
        for turn in talked:
            at = text.find(turn["content"], at)
            if at < 0:
                return broken(
                    f"turns in another order: {quoted(text)}", "Mend chat_template.jinja."
                )
        ours, theirs = encode_prompt(tokenizer, talked), _transformers(tokenizer, talked)
        start = prefix_ids(tokenizer)
        if _without(ours, start) != _without(theirs, start):
            return broken(
                f"{quoted(text)} is {tokens(tokenizer, ours)}, transformers makes "
                f"{tokens(tokenizer, theirs)}",
                "Where tokenizer_config.json sets split_special_tokens, remove it; else tell us.",
            )
    return holds(f"one turn and three stand there, as in {quoted(talk.prompt((USER,)))}")


def _transformers(tokenizer: Any, talked: Sequence[Any]) -> list[int]:
    return list(
        tokenizer.apply_chat_template(
            list(talked), tokenize=True, add_generation_prompt=True, return_dict=False
        )
    )


def _without(ids: Sequence[int], start: Sequence[int]) -> list[int]:
    return list(ids[next((n for n, id in enumerate(ids) if id not in start), len(ids)) :])


def contents(subject: Subject) -> Finding:
    """The text of a turn reaches the model letter for letter."""
    talk, trimmed = subject.talk, []
    for content in CONTENTS:
        turn = {"role": "user", "content": content}
        text = talk.prompt((turn,))
        kept = content if content in text else content.strip()
        read = _read(subject, (turn,))
        if kept in text and kept not in read and and_back(subject.tokenizer, kept) == kept:
            return broken(
                f"{quoted(kept)} stands in the prompt, whose tokens read {quoted(read)}",
                "Set lstrip and rstrip of the template's tokens to false in tokenizer.json.",
            )
        if content in text:
            continue
        if content.strip() not in text:
            return broken(f"{quoted(content)} becomes {quoted(text)}", "Mend chat_template.jinja.")
        trimmed.append(content)
    if trimmed:
        return holds(f"{len(CONTENTS)} texts stand there; the template trims blanks around them")
    return holds(f"{len(CONTENTS)} texts stand there, blanks around them included")


def asks(subject: Subject) -> Finding:
    """The prompt asks for an answer: `add_generation_prompt` adds what the model answers to."""
    tokenizer, talk = subject.tokenizer, subject.talk
    asking = talk.prompt((USER,))
    closed = tokenizer.apply_chat_template([USER], tokenize=False)
    added = asking.removeprefix(closed) if asking.startswith(closed) else ""
    if "<think>" in added:
        return holds(f"it adds {quoted(added)}: thinking begins in the prompt, rewards know of it")
    if added:
        return holds(f"it adds {quoted(added)}")
    return holds(f"a user's turn asks already, by its end {quoted(asking[-24:])}")


def system(subject: Subject) -> Finding:
    """A system turn's text reaches the model."""
    talked = (SYSTEM, USER)
    own = _own_system(subject)
    try:
        text = subject.talk.prompt(talked)
    except DataError as error:
        folded = Talk(subject.tokenizer, ChatForm(fold_system=True)).prompt(talked)
        if not _in_order(folded, [turn["content"] for turn in talked]):
            return broken(f"folded into the user's turn it is lost: {quoted(folded)}", str(error))
        return refused(str(error), "With chat.fold_system = true it stands in the user's turn.")
    if not _in_order(text, [turn["content"] for turn in talked]):
        return broken(f"it stands behind the user's turn: {quoted(text)}", "Mend the template.")
    return holds(f"it stands before the user's turn{own}")


def _in_order(text: str, parts: Sequence[str]) -> bool:
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def _own_system(subject: Subject) -> str:
    """What a template says of its own accord where there is no system turn."""
    before = subject.talk.prompt((USER,)).partition(USER["content"])[0]
    words = [word for word in before.split() if word.isalpha()]
    return f"; without one the template says {quoted(before)}" if len(words) > 4 else ""


def prefill(subject: Subject) -> Finding:
    """A prompt ends in its prefill, character for character, behind what asks for an answer."""
    asking, bridge, blanks = _read(subject, (USER,)), subject.talk.bridge((USER,)), 0
    for begun in ("", *PREFILLS):
        text = _read(subject, (USER, {"role": "assistant", "content": begun}))
        wanted = asking + bridge + begun if begun else asking
        # SentencePiece puts a blank before text behind a special token, as before sampled text.
        blank = text == f"{asking}{bridge} {begun}"
        blanks += blank
        if text != wanted and not blank:
            return broken(
                f"the prefill {quoted(begun)} ends the prompt as {quoted(text[-60:])}",
                "Give prefills that the tokenizer keeps, or none.",
            )
    note = "; the tokenizer puts a blank before some" if blanks else ""
    return holds(f"{len(PREFILLS)} prefills end their prompts, an empty one changes nothing{note}")


def _read(subject: Subject, talked: Prompt) -> str:
    ids = encode_prompt(subject.tokenizer, talked, talk=subject.talk)
    return str(subject.tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def pinned_date(subject: Subject) -> Finding:
    """A template that writes today's date writes that of the run's start."""
    first, second = date(2001, 2, 3), date(2022, 11, 30)
    written = [
        Talk(subject.tokenizer, ChatForm(today=day)).prompt((USER,)) for day in (first, second)
    ]
    if written[0] == written[1]:
        asked = "strftime_now" in str(subject.tokenizer.chat_template)
        return absent(f"the template writes no date{' in such prompts' if asked else ''}")
    if all(str(day.year) in text for day, text in zip((first, second), written, strict=True)):
        return holds("the template writes a date; runs pin that of their start (chat.date)")
    return broken(
        f"the template writes a date of its own making: {quoted(written[0])}",
        "Mend chat_template.jinja, or prompts differ from day to day.",
    )
