"""Laws of a chat template: it is a program, and loses, adds and trims without a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from rlpeft.errors import DataError, ModelError
from rlpeft.model_checks.finding import Finding, absent, broken, holds, quoted, refused, tokens
from rlpeft.model_checks.subject import USER, Subject
from rlpeft.models.load import context_length
from rlpeft.tokens.chat import ChatForm, Talk
from rlpeft.tokens.prompts import encode_prompt, prefix_ids
from rlpeft.tokens.specials import controls
from rlpeft.types import Prompt

ANSWER = {"role": "assistant", "content": "It is forty-two."}
AGAIN = {"role": "user", "content": "And 18 + 25?"}
SYSTEM = {"role": "system", "content": "Answer with a number only."}


def _exchange(number: int) -> tuple[dict[str, str], dict[str, str]]:
    return (
        {"role": "user", "content": f"And {number} + 18?"},
        {"role": "assistant", "content": f"That is {number + 18}."},
    )


LONG = (
    *(turn for number in range(3, 9) for turn in _exchange(number)),
    {"role": "user", "content": "And 2 + 19?"},
)
"""A talk of many turns: templates may keep the last few only."""

MEND = "Mend chat_template.jinja."

THOUGHT = "think"

AGAIN_TIMES = 6
"""Times that the same turns are rendered: a draw among few may come out alike."""

CONTENTS = (
    "Is x < 3 && y > 2? <b>&amp;</b>",
    "{{ bos_token }} {% if x %} ${y}",
    "def f(x):\n    if x:\n        return [1, 2]\n\n\nprint( f(1) )",
    "  two blanks before and behind  ",
    "\n\nlines before and behind\n\n",
    "\tif x:\n\t\treturn 'a'\t# two\ttabs",
    "Write the answer behind #### like this: #### 42 /no_think",
    f"{'One of very many words. ' * 400}The end.",
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
    """Every turn's text stands in the prompt, once, in order, as transformers tokenises it."""
    talk = subject.talk
    if found := _crowded(subject):
        return found
    for talked in ((USER,), (USER, ANSWER, AGAIN), LONG):
        text = talk.prompt(talked)
        if (other := _another(subject, talked, text)) is not None:
            return broken(
                f"the same turns make {quoted(text)} and {quoted(other)}",
                "Take what is drawn at random or read from a clock out of chat_template.jinja.",
            )
        said = [turn["content"] for turn in talked]
        if not _in_order(text, said):
            return broken(f"turns in another order: {quoted(text)}", MEND)
        if twice := [part for part in said if text.count(part) > 1]:
            return broken(f"{quoted(twice[0])} stands there twice: {quoted(text)}", MEND)
    if found := _differs(subject):
        return found
    return holds(
        f"one turn, three and {len(LONG)} stand there, as in {quoted(talk.prompt((USER,)))}"
    )


def _another(subject: Subject, talked: Sequence[Any], text: str) -> str | None:
    """What else the template makes of the same turns."""
    again = (subject.talk.prompt(talked) for _ in range(AGAIN_TIMES))
    return next((other for other in again if other != text), None)


def _crowded(subject: Subject) -> Finding | None:
    """Whether a short question takes the room of its answer."""
    if not (subject.folder / "config.json").is_file():
        return None
    try:
        context = context_length(subject.config)
    except ModelError:
        return None  # told by the laws of weights
    count = len(encode_prompt(subject.tokenizer, (USER,), talk=subject.talk))
    if 2 * count < context:
        return None
    return broken(
        f"{quoted(USER['content'])} makes a prompt of {count:,} tokens, and the model attends to "
        f"{context:,}: little or no room is left for an answer",
        "Take what is too long out of chat_template.jinja, or a model with a longer context.",
    )


def _differs(subject: Subject) -> Finding | None:
    """Whether transformers makes other tokens of turns."""
    tokenizer, start = subject.tokenizer, prefix_ids(subject.tokenizer)
    for talked in ((USER,), (USER, ANSWER, AGAIN)):
        ours = encode_prompt(tokenizer, talked, talk=subject.talk)
        theirs = _transformers(subject, talked)
        if _without(ours, start) != _without(theirs, start):
            return broken(
                f"{quoted(subject.talk.prompt(talked))} is {tokens(tokenizer, ours)}, transformers "
                f"makes {tokens(tokenizer, theirs)}",
                "Set split_special_tokens of tokenizer_config.json to false if it is set; mend "
                "what other rows name. If they all hold, tell us.",
            )
    return None


def _transformers(subject: Subject, talked: Sequence[Any]) -> list[int]:
    return list(
        subject.tokenizer.apply_chat_template(
            list(talked),
            tokenize=True,
            add_generation_prompt=True,
            return_dict=False,
            **subject.talk.form.template_arguments(),
        )
    )


def _without(ids: Sequence[int], start: Sequence[int]) -> list[int]:
    return list(ids[next((n for n, id in enumerate(ids) if id not in start), len(ids)) :])


def contents(subject: Subject) -> Finding:
    """The text of a turn reaches the model letter for letter."""
    trimmed: list[str] = []
    for role, before, behind in _places(subject):
        for content in CONTENTS:
            if role != "user" and THOUGHT in content:
                continue  # templates drop what earlier turns thought
            talked = (*before, {"role": role, "content": content}, *behind)
            text = subject.talk.prompt(talked)
            read = _read(subject, talked)
            core = content.strip()
            if core not in text:
                return broken(f"{quoted(content)} becomes {quoted(text)}", MEND)
            wanted = content if content in text else core
            if wanted not in read and _alone(subject, wanted) not in read:
                return broken(
                    f"{quoted(wanted)} stands in the prompt, whose tokens read {quoted(read)}",
                    "Set lstrip and rstrip of the template's tokens to false in tokenizer.json.",
                )
            if content not in text:
                trimmed.append(f"the template trims blanks around the text of {role} turns")
    found = f"{len(CONTENTS)} texts stand there"
    notes = list(dict.fromkeys(trimmed))
    return holds("; ".join([found, *notes]) if notes else f"{found}, blanks around them included")


def _places(subject: Subject) -> Iterator[tuple[str, tuple[Any, ...], tuple[Any, ...]]]:
    """Turns of every role that the template takes, with those before and behind them."""
    yield "user", (), ()
    yield "assistant", (USER,), (AGAIN,)
    try:
        subject.talk.prompt((SYSTEM, USER))
    except DataError:
        return  # its own law tells it
    yield "system", (), (USER,)


def _alone(subject: Subject, text: str) -> str:
    """A text as the tokenizer gives it back: what that loses is told by another law."""
    ids = encode_prompt(subject.tokenizer, text)[len(prefix_ids(subject.tokenizer)) :]
    return str(subject.tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def asks(subject: Subject) -> Finding:
    """The prompt asks for an answer with what opens an assistant's turn."""
    asking = subject.talk.prompt((USER,)).rpartition(USER["content"])[2]
    closed = _written(subject, [USER]).rpartition(USER["content"])[2]
    answered = _written(subject, [USER, ANSWER])
    if ANSWER["content"] not in answered:
        return holds(f"it ends in {quoted(asking)}")  # the law of turns tells it
    opening = answered.rpartition(ANSWER["content"])[0].rpartition(USER["content"])[2]
    added = asking.removeprefix(closed) if asking.startswith(closed) else asking
    found = f"it adds {quoted(added)}" if added else f"a user's turn asks already: {quoted(asking)}"
    if asking.startswith(opening):
        more = asking[len(opening) :]
        if not more:
            return holds(found)
        if THOUGHT in more.lower() or _holds_control(subject, more):
            return holds(f"{found}: {quoted(more)} begins the answer, rewards know of it")
    elif opening.startswith(asking):
        more = opening[len(asking) :]
        return holds(f"{found}; answers in earlier turns begin with {quoted(more)}, which it lacks")
    return broken(
        f"a prompt for an answer ends in {quoted(asking)}, an assistant's turn opens with "
        f"{quoted(opening)}",
        "Let chat_template.jinja write the same for add_generation_prompt.",
    )


def _written(subject: Subject, talked: Sequence[Any]) -> str:
    return str(
        subject.tokenizer.apply_chat_template(
            list(talked), tokenize=False, **subject.talk.form.template_arguments()
        )
    )


def _holds_control(subject: Subject, text: str) -> bool:
    """Whether a template writes a mark of its own there, as of a channel."""
    names = controls(subject.tokenizer).names
    return any(name in text for name in names)


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
        return broken(f"it stands behind the user's turn: {quoted(text)}", MEND)
    if text.count(SYSTEM["content"]) > 1:
        return broken(f"it stands there twice: {quoted(text)}", MEND)
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
    days = (date(2001, 2, 3), date(2022, 11, 30))
    talks = [Talk(subject.tokenizer, ChatForm(today=day)) for day in days]
    for talked in ((USER,), (SYSTEM, USER)):
        try:
            written = [talk.prompt(talked) for talk in talks]
        except DataError:
            continue  # of a system turn: its own law tells it
        if written[0] != written[1]:
            return holds("the template writes a date; runs pin that of their start (chat.date)")
    asked = "strftime_now" in str(subject.tokenizer.chat_template)
    return absent(f"the template writes no date{' in such prompts' if asked else ''}")
