"""Laws of a tokenizer: text becomes tokens and comes back, and what stands before it."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Sequence
from typing import Any

from rlpeft.model_checks.finding import Finding, broken, holds, quoted, smallest, tokens
from rlpeft.model_checks.subject import ENGLISH, USER, Subject
from rlpeft.tokens.prompts import encode_prompt, encode_text, prefix_ids
from rlpeft.tokens.specials import controls

SIGNS = ((0xA0, 0xC0), (0x2002, 0x2028), (0x2030, 0x205F), (0x2190, 0x2300), (0x3001, 0x3004))
"""Signs of typography and of mathematics, dashes and quotes and blanks of every width among them.

Those at which lines and paragraphs end (U+2028, U+2029) no row holds.
"""

PROBES = (
    "Two words, and three more.",
    "def f(x):\n    if x > 0:\n\t\treturn [1, 2]\n\n",
    "I have  2 dogs   and 1234567890.5 cats, 007",
    "  blanks before and behind  ",
    "\n\n\nlines\r\n\r\n of three kinds\n",
    "don't , won't . isn't ! x = [ 'a' ] ?",
    "\\boxed{\\frac{1}{2}} $x^2$ <b>&amp;</b> {{ x }} {% y %} <answer>42</answer>",
    "naïve café, Straße, Ελληνικά, русский, עברית, العربية, हिन्दी, ไทย",
    "中文字符，日本語テキスト、한국어 ½ ² ﬁ №",
    "“quoted” – a dash — ‘single’ … € £ × ÷ ≤ →",
    "🙂 👩‍👩‍👧 🇫🇷 𝔘",
    " ".join(sign * count for sign in string.punctuation for count in (2, 3)),
    "".join(f"a{sign}" for first, end in SIGNS for sign in map(chr, range(first, end))),
    "a\x0cb\x0bc\td\t\te\u3000f\ufeffg",
)
"""Text that rows hold: code, numbers, markup, scripts, signs, and blanks of every kind."""

BLANK = "\u2581"
"""How SentencePiece writes a blank: where text holds the sign itself, a blank comes back."""

DRAWS = 16
"""Times that a text is encoded again: a dropout of tokens spares some texts now and then."""

MOST_ADDED = 500
"""Of a tokenizer's own added tokens that are tried."""


def round_trip(subject: Subject) -> Finding:
    """Text that becomes tokens and text again is the same text."""
    tokenizer = subject.tokenizer

    def breaks(text: str) -> bool:
        kept = (text, text.removeprefix(" "), f" {text}")
        return _composed(and_back(tokenizer, text)) not in map(_composed, kept)

    if random := next((text for text in PROBES if _varies(tokenizer, text)), None):
        return broken(
            f"{quoted(random)} becomes other tokens each time",
            "Take the dropout of its model out of tokenizer.json.",
        )
    lost = [text for text in PROBES if breaks(text)]
    if not lost and (name := _eats(tokenizer)):
        text = _around(name)
        return broken(
            f"{quoted(text)} comes back as {quoted(and_back(tokenizer, text))}: {quoted(name)} is "
            "an added token of its own, and takes what stands beside it",
            "Set lstrip, rstrip and normalized of it to false in tokenizer.json.",
        )
    if not lost:
        notes = ["letters with accents in composed form"] if _composes(tokenizer) else []
        notes += [_edge(tokenizer)] if _edge(tokenizer) else []
        return holds("; ".join([f"{len(PROBES)} texts come back as they were", *notes]))
    text = smallest(lost[0], breaks)
    ids = encode_text(tokenizer, text)
    found = (
        f"{len(lost)} of {len(PROBES)} texts come back changed: {quoted(text)} becomes "
        f"{tokens(tokenizer, ids)} and then {quoted(and_back(tokenizer, text))}"
    )
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        return broken(found, "The model cannot read such text; keep it out of the rows.")
    return broken(
        found,
        "Rewards see what comes back. If the model's own tokenizer keeps it, take that one; else "
        "use rewards that do not look at it.",
    )


def _eats(tokenizer: Any) -> str | None:
    """An ordinary added token that does not leave the text beside it alone."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    control = controls(tokenizer).names
    names = [token.content for token in added if token.content not in control]
    names = [name for name in names if BLANK not in name]
    return next((name for name in names[:MOST_ADDED] if _takes(tokenizer, name)), None)


def _takes(tokenizer: Any, name: str) -> bool:
    text = _around(name)
    # SentencePiece puts a blank before text that follows an added token, as before any other.
    kept = (text, text.removeprefix(" "), f" {text}")
    both = {_composed(form) for t in kept for form in (t, t.replace(name, f"{name} "))}
    return _composed(and_back(tokenizer, text)) not in both


def _around(name: str) -> str:
    return f"a  {name}  b\n\n{name}\n\nc"


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _composes(tokenizer: Any) -> bool:
    return and_back(tokenizer, "e\u0301") == "\u00e9"


def _varies(tokenizer: Any, text: str) -> bool:
    ids = encode_text(tokenizer, text)
    return any(encode_text(tokenizer, text) != ids for _ in range(DRAWS))


def _edge(tokenizer: Any) -> str:
    """What happens to blanks at the very beginning of a text."""
    if and_back(tokenizer, "x") == " x":
        return "a blank is put before it"
    return "one blank at the very beginning is lost" if and_back(tokenizer, " x") == "x" else ""


def and_back(tokenizer: Any, text: str) -> str:
    ids = encode_text(tokenizer, text)
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def prefix(subject: Subject) -> Finding:
    """What the tokenizer itself puts before text opens every prompt, once."""
    tokenizer = subject.tokenizer
    start = prefix_ids(tokenizer)
    for text in PROBES[:4]:
        whole, ids = tokenizer(text)["input_ids"], encode_prompt(tokenizer, text)
        if ids != whole[: len(ids)] or whole[len(ids) :] != _suffix(tokenizer):
            return broken(
                f"the prompt {quoted(text)} is {tokens(tokenizer, ids)}, the tokenizer itself "
                f"makes {tokens(tokenizer, whole)}",
                "Save the tokenizer that belongs to the model.",
            )
    found = (
        f"plain prompts open with {tokens(tokenizer, start)}"
        if start
        else ("the tokenizer puts nothing before text")
    )
    if tokenizer.chat_template:
        ids = encode_prompt(tokenizer, (USER,))
        if (count := _doubled(ids, start, tokenizer.bos_token_id)) > 1:
            return broken(
                f"chat prompts open with {count} BOS tokens: {tokens(tokenizer, ids)}",
                "Take one of them out of chat_template.jinja.",
            )
        found += f", chat prompts with {tokens(tokenizer, ids[:1])}"
    if suffix := _suffix(tokenizer):
        found += f"; what it puts behind text ({tokens(tokenizer, suffix)}) is left out of prompts"
    return holds(found)


def _suffix(tokenizer: Any) -> list[int]:
    whole, bare = tokenizer("1")["input_ids"], encode_text(tokenizer, "1")
    return list(whole[len(prefix_ids(tokenizer)) + len(bare) :])


def _doubled(ids: Sequence[int], start: Sequence[int], bos: int | None) -> int:
    """How many BOS tokens a prompt opens with, among other prefix tokens."""
    opening = 0
    while opening < len(ids) and (ids[opening] in start or ids[opening] == bos):
        opening += 1
    return list(ids[:opening]).count(bos) if bos is not None else 0


NEEDLESS = 0.5
"""Nats a token by which text must read better behind another start, to say so."""


def reads_best(subject: Subject) -> Finding:
    """The model reads text as its tokenizer opens it better than with BOS or without."""
    tokenizer, reading = subject.tokenizer, subject.rollouts.reading
    own = tuple(prefix_ids(tokenizer))
    shown = ", ".join(
        f"{-value:.2f} nats a token behind {tokens(tokenizer, start)}"
        for start, value in reading.items()
    )
    found = f"plain English costs {shown}"
    best = max(reading, key=lambda start: reading[start], default=own)
    if reading and reading[best] - reading[own] > NEEDLESS:
        return broken(
            f"{found}; the tokenizer opens text with {tokens(tokenizer, own)}",
            f"The model was trained on text behind {tokens(tokenizer, best)}: set add_bos_token "
            "accordingly and save the tokenizer again, or take the model's own.",
        )
    if reading and len(ENGLISH) >= LETTERS * len(encode_text(tokenizer, ENGLISH)):
        return _judged_loss(subject, -reading[own], found)
    return holds(found)


LETTERS = 2
"""Letters that a token of English has at least, where the tokenizer is made for words."""

SURE, SURPRISED = 0.7, 3.0
"""Share of a uniform guess's entropy below which weights are no random ones, and the nats a token
that text may cost beyond what the model itself expects."""


def _judged_loss(subject: Subject, loss: float, found: str) -> Finding:
    """What English costs beside a uniform guess, and beside what the model expects it to cost."""
    uniform, expected = subject.expected
    found = f"{found}; a uniform guess {uniform:.2f}, the model itself expects {expected:.2f}"
    if expected > SURE * uniform:
        return holds(f"{found}, as weights do that are random")
    if not loss <= uniform:
        return broken(
            f"{found}: the model is sure of itself and reads English worse than a guess",
            "Look whether tokenizer, config.json and weights belong together.",
        )
    if loss > expected + SURPRISED:
        return holds(f"{found}: look at it, a model that is trained on such text is less surprised")
    return holds(found)
