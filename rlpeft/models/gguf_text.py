"""How text becomes tokens by what a GGUF file says of it, where transformers' conversion does not.

The conversion makes every byte-level tokenizer that of GPT-2. The file names another one
(`tokenizer.ggml.pre`): one that takes digits one by one, say, so that numbers and runs of blanks
become other tokens than those the model was trained on. It also says whether text opens with BOS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlpeft.errors import ModelError

BYTE_LEVEL, SENTENCE_PIECE = "gpt2", "llama"
"""Kinds of tokenizers (`tokenizer.ggml.model`) that we know to convert."""

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
"""How these models split text before byte pairs are merged, as their own files have it."""

PRE_TOKENIZERS = ("gpt-2", "smollm", "qwen2", "llama-bpe")
"""Values of `tokenizer.ggml.pre` that we know."""


def follow(tokenizer: Any, fields: Mapping[str, Any]) -> None:
    """Make a converted tokenizer read text as its GGUF file says.

    Args:
        tokenizer: a fast tokenizer of transformers; it is changed.
        fields: `tokenizer.ggml.…` of the file, by the last part of their names.

    Raises:
        ModelError: the file names a kind of tokenizer or of pre-tokenizer that we do not know.
    """
    kind, pre = fields.get("model"), fields.get("pre")
    if kind not in (BYTE_LEVEL, SENTENCE_PIECE):
        raise ModelError(
            f"tokenizer.ggml.model of a GGUF must be {BYTE_LEVEL!r} or {SENTENCE_PIECE!r}, got "
            f"{kind!r}. Take the model's own tokenizer.json."
        )
    fast = tokenizer.backend_tokenizer
    if kind == BYTE_LEVEL:
        fast.pre_tokenizer = pre_tokenizer(pre)
        if pre == "qwen2":
            from tokenizers import normalizers

            fast.normalizer = normalizers.NFC()
    # Files of SentencePiece models that do not say open text with BOS, as llama.cpp reads them.
    if fields.get("add_bos_token", kind == SENTENCE_PIECE):
        _open_with_bos(tokenizer)
    else:
        fast.post_processor = None


def pre_tokenizer(name: object) -> Any:
    """The pre-tokenizer that a GGUF file names.

    Raises:
        ModelError: one that we do not know; another one in its place would be silently wrong.
    """
    from tokenizers import Regex, pre_tokenizers

    if name not in PRE_TOKENIZERS:
        raise ModelError(
            f"tokenizer.ggml.pre of a GGUF must be one of {', '.join(PRE_TOKENIZERS)}, got "
            f"{name!r}: text would become other tokens than the model knows. Take the model's own "
            "tokenizer.json."
        )
    if name in ("qwen2", "llama-bpe"):
        pattern = Regex(QWEN2 if name == "qwen2" else LLAMA3)
        split = pre_tokenizers.Split(pattern, behavior="isolated")
        letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([split, letters])
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == "gpt-2":
        return letters
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), letters])


def _open_with_bos(tokenizer: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    bos, id = tokenizer.bos_token, tokenizer.bos_token_id
    if bos is None or id is None:
        raise ModelError("a GGUF file that opens text with BOS must name one, it names none.")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=[bos, "$A"], pair=[bos, "$A", bos, "$B:1"], special_tokens=[(bos, id)]
    )


def read_fields(path: Any) -> dict[str, Any]:
    """The fields of a GGUF file that say how text is read, by the last part of their names.

    Raises:
        ValueError: it is no GGUF file.
    """
    from gguf import GGUFReader

    prefix, reader = "tokenizer.ggml.", GGUFReader(path)
    names = ("model", "pre", "add_bos_token")
    found = {name: reader.get_field(prefix + name) for name in names}
    return {name: field.contents() for name, field in found.items() if field is not None}


def read_tokens(path: Any) -> list[str]:
    """Every token of a GGUF file, in the order of their ids.

    Raises:
        ValueError: it is no GGUF file.
    """
    from gguf import GGUFReader

    field = GGUFReader(path).get_field("tokenizer.ggml.tokens")
    return [] if field is None else field.contents()
