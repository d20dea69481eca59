r"""A completion as a person reads it: without markup, special tokens and other scripts' widths."""

from __future__ import annotations

import re
import unicodedata

_SPECIAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?s>|<(?:eos|bos|pad|(?:end|start)_of_turn)>")
_TAG = re.compile(r"</?[a-z][a-z0-9_-]{1,20}\s?/?>")  # <b> may be an option
_PAIR = re.compile(r"<([bisup])>([^<>]*)</\1>")
_SLASHES = re.compile(r"\\{2,}(?=[a-zA-Z([])")
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|mathrm|mathbf|mathsf|mathit|mbox|emph|bf)"
    r"\s?\{([^{}]*)\}"
)
_MARKS = re.compile(r"[*`$​-‏⁠﻿]|\\[()\[\]]|(?<![^\W_])_+|_+(?![^\W_])")


def plain_text(text: str) -> str:
    r"""The text in NFKC, without Markdown, `$`, `\text{}`, tags and end-of-turn tokens.

    >>> plain_text("**Answer**: \\\\text{（Ｂ）}<|im_end|>")
    'Answer: (B)\n'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = _TAG.sub("\n", _PAIR.sub(r"\2", _SPECIAL.sub("\n", text)))
    text = _SLASHES.sub(r"\\", text)  # JSON that was escaped twice
    return _MARKS.sub("", _TEXT.sub(r"\1", _TEXT.sub(r"\1", text)))
