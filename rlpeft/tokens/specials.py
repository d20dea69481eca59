"""Control tokens in text: those that a template writes are tokens, those in data are letters.

A tokenizer reads `<|im_end|>` as the end of a turn wherever it stands, so a question that holds
these letters would close its own turn. Text from data is therefore *guarded* before a template
sees it: the first letter of each control token's name is written in a form no tokenizer looks for.
Guarded text is encoded by a copy of the tokenizer in which control tokens have other names; what a
template wrote is renamed with them, and what was guarded is letters again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rlpeft.errors import ConfigError, DataError, ModelError
from rlpeft.tokens.deadline import OvertimeError, deadline

OPEN, CLOSE, NAME_OPEN, NAME_CLOSE = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"
"""Noncharacters of Unicode: never part of text that is exchanged, so free for use within."""

NONCHARACTERS = re.compile(f"[{OPEN}-{NAME_CLOSE}]")
GUARDED = re.compile(f"{OPEN}([0-9a-f]+){CLOSE}")
CACHED = 8
"""Tokenizers for which names and copies are kept."""


@dataclass(frozen=True, slots=True)
class Controls:
    """Control tokens of one tokenizer.

    Attributes:
        names: as they are written in text.
        ids: theirs, but for that of unknown words, which data may well be.
    """

    names: frozenset[str]
    ids: frozenset[int]
    unknown: str | None

    @property
    def alternatives(self) -> str:
        """A regular expression of the names, the longest first, as tokenizers look for them."""
        longest_first = sorted(self.names, key=lambda name: (-len(name), name))
        return "|".join(map(re.escape, longest_first)) or "(?!)"


def controls(tokenizer: Any) -> Controls:
    """The tokens that data may not write: all special ones, and those around a turn.

    Some tokenizers (converted ones above all) hold the marks of turns as ordinary added tokens.
    """
    # Its size tells that tokens were added; the list of these takes long where there are thousands.
    return _controls(tokenizer, getattr(tokenizer, "chat_template", None), len(tokenizer))


@lru_cache(maxsize=CACHED)
def _controls(tokenizer: Any, template: Any, _size: int) -> Controls:
    added = getattr(tokenizer, "added_tokens_decoder", {})
    talk = _one_talk(tokenizer) if template else ""
    special = {str(name) for name in getattr(tokenizer, "all_special_tokens", ())}
    found = {
        id: token.content
        for id, token in added.items()
        if token.special or token.content in special or _marks(token.content, talk)
    }
    unknown = getattr(tokenizer, "unk_token", None)
    names = frozenset(name for name in found.values() if name.strip())
    return Controls(names, frozenset(i for i, n in found.items() if n != unknown), unknown)


TEMPLATE_S = 10.0
"""Seconds that a chat template may take for one prompt; it takes less than a thousandth of it."""


def render(tokenizer: Any, turns: Sequence[Any], **arguments: Any) -> Any:
    """What the chat template writes for turns: text, if it is a sound one.

    Raises:
        ModelError: it does not end, or writes without end.
        Exception: any at all that the template, which is a program, fails with.
    """
    try:
        with deadline(TEMPLATE_S):
            return tokenizer.apply_chat_template(turns, tokenize=False, **arguments)
    except OvertimeError as error:
        if error.limit != TEMPLATE_S:
            raise  # a limit around this one
        raise ModelError(
            f"the model's chat template must end, it takes more than {TEMPLATE_S:g} s for one "
            "prompt. Mend chat_template.jinja in the model's folder, or take the tokenizer of its "
            "publisher."
        ) from error


TALKS = (("system", "user", "assistant", "user"), ("user", "assistant", "user"), ("user",))
"""Turns that show what a template writes around each; not all templates take all roles.

The last is no answer: what templates write into that one (an empty thought) data may hold.
"""


def _one_talk(tokenizer: Any) -> str:
    for roles in TALKS:
        turns = [{"role": role, "content": "x"} for role in roles]
        try:
            return str(render(tokenizer, turns))
        except ModelError:
            raise
        except Exception:
            # Recovery: what is wrong with a template is told where turns are rendered.
            continue
    return ""


def _marks(name: str, talk: str) -> bool:
    """Whether an ordinary token is one of the marks of turns; words and white space are not."""
    return name in talk and not _is_word(name)


def _is_word(name: str) -> bool:
    return any(c.isalnum() or c.isspace() for c in (name[:1], name[-1:]))


def require_marks(tokenizer: Any) -> None:
    """Refuse special tokens that are ordinary pieces: they would be taken out of every text.

    Raises:
        ModelError: a special token is a word or a single letter that text is made of.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    model = getattr(backend, "model", None)
    if backend is None or model is None or type(model).__name__ not in ("BPE", "Unigram"):
        return  # others hold words and marks in one list, and nothing tells them apart
    added = getattr(tokenizer, "added_tokens_decoder", {})
    special = {token.content for token in added.values() if token.special}
    for name in sorted({*special, *map(str, tokenizer.all_special_tokens)}):
        ordinary = len(name) == 1 or (name and _is_word(name))
        if ordinary and [t.id for t in model.tokenize(name)] == [backend.token_to_id(name)]:
            roles = [role for role, n in tokenizer.special_tokens_map.items() if n == name]
            raise ModelError(
                "special tokens of a tokenizer must be marks that no text is made of, "
                f"{name!r} ({', '.join(roles) or 'special in tokenizer.json'}) is an ordinary "
                "piece: it would be taken out of every answer. Name another in "
                "tokenizer_config.json (for padding the eos_token will do), and take it out of "
                "added_tokens in tokenizer.json."
            )


@lru_cache(maxsize=CACHED)
def _begins(found: Controls) -> re.Pattern[str]:
    """Each place where a name begins, within another name too."""
    return re.compile(f"(?={found.alternatives})")


@lru_cache(maxsize=CACHED)
def _whole(found: Controls) -> re.Pattern[str]:
    return re.compile(found.alternatives)


def require_unicode(text: str) -> None:
    """Refuse what no tokenizer reads, and what marks data here.

    Raises:
        DataError: half of a surrogate pair, or one of four noncharacters.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = short(text[max(0, error.start - 20) :])
        raise DataError(
            f"text for the model must be Unicode, character {error.start} is the lone surrogate "
            f"{text[error.start]!r} in {shown}. Mend or drop it."
        ) from error
    if found := NONCHARACTERS.search(text):
        raise DataError(
            f"text for the model must hold none of the noncharacters U+FDD0 to U+FDD3, character "
            f"{found.start()} is {found[0]!r}. Drop it."
        )


def control_names(tokenizer: Any, text: str) -> list[str]:
    """Names of control tokens in a text, each once."""
    found = [name for name in _whole(controls(tokenizer)).findall(text) if name]
    return list(dict.fromkeys(found))


def require_meant(tokenizer: Any, text: str, *, option: str, options: Mapping[str, Any]) -> None:
    """Refuse a recipe's own text that names a control token, and does not say what is meant.

    Args:
        option: names the text, such as `task.options.template`.
        options: those of the task.

    Raises:
        ConfigError: names of control tokens are letters unless `task.options.special_tokens`.
    """
    names = control_names(tokenizer, text)
    if names and "special_tokens" not in options:
        raise ConfigError(
            f"{option} writes {', '.join(names)}, a name of the model's control tokens. Set "
            "task.options.special_tokens = true if it shall be that token (names in the rows are "
            "tokens then, too), or false if it shall be letters."
        )


def guard(tokenizer: Any, text: str) -> str:
    """The text of a row or a turn, with the names of control tokens as mere letters.

    Raises:
        DataError: see `require_unicode`.
    """
    require_unicode(text)
    starts = {match.start() for match in _begins(controls(tokenizer)).finditer(text)}
    return (
        "".join(
            f"{OPEN}{ord(letter):x}{CLOSE}" if place in starts else letter
            for place, letter in enumerate(text)
        )
        if starts
        else text
    )


def unguard(text: str) -> str:
    """Guarded text as it was."""
    return GUARDED.sub(lambda match: chr(int(match[1], 16)), text)


def encode_guarded(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text, without special tokens around it; guarded names give letters.

    Raises:
        ModelError: the tokenizer has no fast form, and cannot keep letters and tokens apart.
    """
    found = controls(tokenizer)
    if OPEN not in text:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        written = sum(name != found.unknown for name in _whole(found).findall(text))
        if sum(id in found.ids for id in ids) == written:
            return ids
        # A control token came out of data by way of the normaliser or of the vocabulary.
    text = _whole(found).sub(lambda match: _renamed(match[0]), text)
    copy = _copy(tokenizer, found)
    return list(copy.encode(unguard(text), add_special_tokens=False).ids)


def _renamed(name: str) -> str:
    return f"{NAME_OPEN}{name}{NAME_CLOSE}"


@lru_cache(maxsize=CACHED)
def _copy(tokenizer: Any, found: Controls) -> Any:
    """The tokenizer with its control tokens under names that no text can hold."""
    from tokenizers import Tokenizer

    fast = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(fast, Tokenizer):
        raise ModelError(
            "data holds the name of a control token, which must stay text, and the model's "
            "tokenizer has no fast form that could keep them apart. Save it as tokenizer.json, or "
            "take the name out of the data."
        )
    document = json.loads(fast.to_str())
    new = {name: _renamed(name) for name in found.names}
    for token in document["added_tokens"]:
        token["content"] = new.get(token["content"], token["content"])
    _rename_vocabulary(document["model"], new)
    document["post_processor"] = None
    try:
        copy = Tokenizer.from_str(json.dumps(document))
    except Exception as error:
        # The library raises nothing narrower. Words are merged from a name that was renamed.
        raise ModelError(
            "control tokens of the model's tokenizer must be no parts of its words, one is "
            f"({error}): data could not be kept from writing it. Correct the special tokens in "
            "tokenizer_config.json."
        ) from error
    copy.no_truncation()
    copy.no_padding()
    if any(copy.token_to_id(new[name]) != fast.token_to_id(name) for name in new):
        raise ModelError("the model's tokenizer numbers its added tokens in no order we can keep.")
    return copy


def _rename_vocabulary(model: dict[str, Any], new: dict[str, str]) -> None:
    """Rename entries: a piece that is found by its name would be a token however it is added."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {new.get(name, name): id for name, id in vocabulary.items()}
    else:  # Unigram: pieces with their scores, by id
        model["vocab"] = [[new.get(name, name), score] for name, score in vocabulary]
    if "merges" in model:
        # Letters may spell a mark: without the merges they are shorter pieces, and stay letters.
        marks = {name for name in new if len(name) > 1 and not _is_word(name)}
        model["merges"] = [m for m in model["merges"] if marks.isdisjoint({*m, "".join(m)})]
    if model.get("unk_token") in new:
        model["unk_token"] = new[model["unk_token"]]


def short(value: Any, limit: int = 200) -> str:
    """A value as errors show it."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
