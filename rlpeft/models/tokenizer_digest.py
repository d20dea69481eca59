"""The digest of a tokenizer: of what decides tokens and prompts, never of files.

Two models with the same weights may read other prompts: by another vocabulary, chat template or
end of sequence. What a save rewrites (order of keys, form of merges, defaults, padding) is no part
of it. Each part is taken apart, so that an error can say which of them changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.tokens.eos import eos_ids
from rlpeft.tokens.prompts import encode_text, prefix_ids

TokenizerParts = Mapping[str, Any]

VOCABULARY, RULES, ADDED, ROLES = "vocabulary", "text_rules", "added_tokens", "special_tokens"
TEMPLATE, PREFIX, ENDS = "chat_template", "prefix", "ends"
"""The parts: digests, or what is short enough to be read."""

NAMES = {
    VOCABULARY: "vocabulary",
    RULES: "normaliser, pre-tokenizer or decoder",
    ADDED: "added tokens",
    ROLES: "special tokens",
    TEMPLATE: "chat template",
    PREFIX: "tokens before text",
    ENDS: "ends of sequence",
}
"""As people call them."""

OFFSETS_ONLY = ("trim_offsets",)
"""Options that move offsets into the text, and no token."""

PROBES = (
    " I have  2 dogs,\n\tand 1234.5 cats!\r\n",
    "def f(x):\n    return x\u2581+ 1",
    "\u00e9 e\u0301 \ufb01 \u4f60\u597d \U0001f600\u200d\U0001f525 \u00a0\u3000x",
)
"""Texts whose tokens stand for the rules of a tokenizer that does not show them."""


def tokenizer_parts(folder: Path | str) -> dict[str, Any]:
    """What decides the tokens and prompts of a model folder, part by part, as JSON has it.

    Read once per process, and again only when a file's size or time changes.

    Raises:
        ModelError: tokenizer or configs cannot be read, or nothing ends a sequence.
    """
    folder = Path(folder)
    files = sorted(file for file in folder.iterdir() if file.suffix != ".safetensors")
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    state = tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    parts: dict[str, Any] = json.loads(_parts(folder, state))
    return parts


@lru_cache(maxsize=16)
def _parts(folder: Path, _state: tuple[tuple[str, int, int], ...]) -> str:
    tokenizer = load_tokenizer(folder)
    template = _template(tokenizer.chat_template)
    vocabulary, rules = _backend(tokenizer)
    parts = {
        VOCABULARY: _digest(vocabulary),
        RULES: _digest([rules, bool(getattr(tokenizer, "split_special_tokens", False))]),
        ADDED: _digest(_added(tokenizer)),
        ROLES: _roles(tokenizer, template),
        TEMPLATE: None if template is None else _digest(template),
        PREFIX: prefix_ids(tokenizer),
        ENDS: sorted(eos_ids(folder, tokenizer)),
    }
    return json.dumps(parts)


def tokenizer_digest(folder: Path | str) -> str:
    """SHA-256 (hex) over all parts."""
    return hashlib.sha256(_as_json(tokenizer_parts(folder)).encode()).hexdigest()


def changed_parts(before: TokenizerParts, now: TokenizerParts) -> list[str]:
    """What differs, in words; parts that one of the two does not know are passed over."""
    found = []
    for part, name in NAMES.items():
        if part in before and part in now and before[part] != now[part]:
            shown = all(isinstance(parts[part], list) for parts in (before, now))
            found.append(f"{name} (were {before[part]}, are {now[part]})" if shown else name)
    return found


def _backend(tokenizer: Any) -> tuple[Any, Any]:
    """Vocabulary with merges, and the rules around it."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None or not hasattr(fast, "to_str"):
        ids = [encode_text(tokenizer, text) for text in PROBES]
        return tokenizer.get_vocab(), [ids, [tokenizer.decode(row) for row in ids]]
    document = json.loads(fast.to_str())
    model = {key: None if value == "" else value for key, value in document["model"].items()}
    rules = {name: _plain(document[name]) for name in ("normalizer", "pre_tokenizer")}
    return model, {**rules, "decoder": _decoder(_plain(document["decoder"]))}


def _plain(rule: Any) -> Any:
    """A rule without what moves no token, and without sequences of one or none."""
    if isinstance(rule, list):
        return [_plain(each) for each in rule]
    if not isinstance(rule, dict):
        return rule
    if rule.get("type") == "Sequence":
        (steps,) = [_plain(value) for value in rule.values() if isinstance(value, list)]
        steps = [step for step in steps if step is not None]
        return steps[0] if len(steps) == 1 else steps or None
    return {key: _plain(value) for key, value in rule.items() if key not in OFFSETS_ONLY}


def _decoder(rule: Any) -> Any:
    """A decoder without the options that it shares with pre-tokenizers and never reads."""
    if isinstance(rule, list):
        return [_decoder(each) for each in rule]
    is_bytes = isinstance(rule, dict) and rule.get("type") == "ByteLevel"
    return "ByteLevel" if is_bytes else rule


def _added(tokenizer: Any) -> Any:
    flags = ("content", "special", "normalized", "lstrip", "rstrip", "single_word")
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {str(id): [getattr(token, flag) for flag in flags] for id, token in added.items()}


def _roles(tokenizer: Any, template: Any) -> dict[str, str]:
    """Role -> token; that of padding counts where a template may write it, and only there."""
    found = {role: str(token) for role, token in tokenizer.special_tokens_map.items()}
    if "pad_token" not in str(template):
        found.pop("pad_token", None)
    return found


def _template(found: Any) -> Any:
    """A template, or several by name, as Jinja reads it: without the last line's end."""
    if isinstance(found, Mapping):
        return {str(name): _template(each) for name, each in found.items()}
    if not isinstance(found, str):
        return None
    return found.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")


def _digest(content: Any) -> str:
    return hashlib.sha256(_as_json(content).encode()).hexdigest()


def _as_json(content: Any) -> str:
    # Vocabularies may hold halves of surrogate pairs, which ASCII can name.
    return json.dumps(content, sort_keys=True, default=str)
