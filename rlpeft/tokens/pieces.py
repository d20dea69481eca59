"""Token ids one by one, as a person can read them, and so that no two of them look alike.

Control tokens stand in `⟦⟧`; blanks are `␣`, line ends `⏎` and the end of a line. Bytes of a
character that takes several tokens are `⟨F0 9F⟩` up to the token that ends it; characters that do
not show are `⟨U+202E⟩`, and so are those of these marks that text itself holds.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from rlpeft.tokens.specials import controls

CONTROL_OPEN, CONTROL_CLOSE = "⟦", "⟧"
BLANK, LINE_END, BETWEEN = "␣", "⏎", "│"
MARKS = frozenset(f"{CONTROL_OPEN}{CONTROL_CLOSE}{BLANK}{LINE_END}{BETWEEN}⟨⟩")
LEGEND = (
    "⟦ ⟧ control token",
    "␣ blank",
    "⏎ line end",
    "⟨F0⟩ byte of a character that goes on",
    "⟨U+202E⟩ character that does not show, or one of these marks",
)

ANCHOR = "1"
"""Stands before a token that is decoded: some decoders take the blank of a first one."""

BROKEN = "\N{REPLACEMENT CHARACTER}"
BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""A byte's token in SentencePiece's vocabularies."""


class Piece(NamedTuple):
    """One token.

    Attributes:
        id: its own.
        text: what it adds to the text, shown; a control token's name within `⟦⟧`.
    """

    id: int
    text: str

    @property
    def is_control(self) -> bool:
        """Whether it is a control token, which text that reads like one is not."""
        return self.text.startswith(CONTROL_OPEN)


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[Piece]:
    """Each token with what it says, whatever its neighbours are; ids without a token too."""
    reader = _Reader.of(tokenizer)
    said = {id: reader.read(id) for id in set(ids)}
    goes_on = codecs.getincrementaldecoder("utf-8")("replace")
    found = []
    for id in ids:
        token = said[id]
        if isinstance(token, bytes):
            found.append(Piece(id, _shown_bytes(token, goes_on)))
        else:
            goes_on.reset()
            found.append(Piece(id, token))
    return found


def shown(text: str) -> str:
    """Text with all that does not show, or looks like one of our marks, spelled out."""
    return "".join(map(_shown_character, text))


def _shown_bytes(token: bytes, goes_on: codecs.IncrementalDecoder) -> str:
    text = shown(goes_on.decode(token))
    rest = goes_on.getstate()[0][-len(token) :]
    return text + (f"⟨{rest.hex(' ').upper()}⟩" if rest else "")


def _shown_character(character: str) -> str:
    if character == "\n":
        return f"{LINE_END}\n"
    if character == " ":
        return BLANK
    if character in MARKS or unicodedata.category(character)[0] in "CZ":
        return f"⟨U+{ord(character):04X}⟩"
    return character


@dataclass(frozen=True)
class _Reader:
    """Reads single tokens of one tokenizer."""

    tokenizer: Any
    decoder: Any
    controls: frozenset[int]
    added: Mapping[int, Any]

    @classmethod
    def of(cls, tokenizer: Any) -> _Reader:
        added = getattr(tokenizer, "added_tokens_decoder", {})
        special = {int(id) for id, token in added.items() if token.special}
        ids = controls(tokenizer).ids | special | set(getattr(tokenizer, "all_special_ids", ()))
        backend = getattr(tokenizer, "backend_tokenizer", None)
        return cls(tokenizer, getattr(backend, "decoder", None), frozenset(ids), added)

    def read(self, id: int) -> str | bytes:
        """What is to be shown of a token; bytes where it holds part of a character."""
        name = self._name(id)
        if name is None:
            return f"{CONTROL_OPEN}no token {id}{CONTROL_CLOSE}"
        if id in self.controls:
            return f"{CONTROL_OPEN}{shown(name)}{CONTROL_CLOSE}"
        if id in self.added:
            return shown(name)
        text = self._text(id, name)
        raw = _raw_bytes(name) if BROKEN in text else None
        return shown(text) if raw is None else raw

    def _name(self, id: int) -> str | None:
        try:
            name = self.tokenizer.convert_ids_to_tokens(id)
        except (IndexError, KeyError, OverflowError, ValueError):
            return None  # models have embeddings beyond their tokenizer's last token
        return None if name is None else str(name)

    def _text(self, id: int, name: str) -> str:
        if self.decoder is not None:
            text: str = self.decoder.decode([ANCHOR, name])
            if text.startswith(ANCHOR):
                return text.removeprefix(ANCHOR)
        decode = self.tokenizer.decode
        return str(decode([id], skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _raw_bytes(name: str) -> bytes | None:
    if byte := BYTE.fullmatch(name):
        return bytes.fromhex(byte[1])
    try:
        return bytes(_byte_of_letter()[letter] for letter in name)
    except KeyError:
        return None


@lru_cache(maxsize=1)
def _byte_of_letter() -> dict[str, int]:
    """Letter of byte-level vocabularies -> the byte it stands for."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}
