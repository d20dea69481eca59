"""Where in a completion its answer may stand: after the thinking, and in `<answer>`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

MAX_CHARS = 200_000
"""Completions are cut to their last 200 000 characters before they are searched."""

OPENED, CLOSED = "<think>", "</think>"
_THINKING = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
_ANSWER = re.compile(r"<(/?)answer>", re.IGNORECASE)


def answer_region(text: str) -> str | None:
    """Return the part of `text` that may state the answer, `None` if it is still thinking.

    What follows the thinking outranks it, and the last `<answer>` outranks the rest.
    """
    rest = after_thinking(text[-MAX_CHARS:])
    if rest is None:
        return None
    block = answer_block(rest)
    return rest if block is None else block


def after_thinking(text: str) -> str | None:
    """What follows the last closed thinking; all of it without any, `None` inside an open one."""
    tags = list(_THINKING.finditer(text))
    if not tags:
        return text
    return text[tags[-1].end() :] if tags[-1][1] else None


def answer_block(text: str) -> str | None:
    """The last `<answer>`; one left open counts too, since a stop string cuts its end off."""
    tags = list(_ANSWER.finditer(text))
    last = max((i for i, tag in enumerate(tags) if not tag[1]), default=None)
    if last is None:
        return None
    end = tags[last + 1].start() if last + 1 < len(tags) else len(text)
    return text[tags[last].end() : end]


def behind_prompts(
    completions: Sequence[str],
    prompts: Sequence[Any] | None = None,
    prompt_ends: Sequence[str] | None = None,
) -> list[str]:
    """Completions with the `<think>` before them that their prompts have opened.

    Chat templates write it, and so do prefills: without it, thinking that never ends would pass
    for an answer.
    """
    held = prompts if prompts is not None else [""] * len(completions)
    ends = prompt_ends if prompt_ends else [""] * len(completions)
    return [
        OPENED + text if is_thinking(end, prompt) else text
        for text, prompt, end in zip(completions, held, ends, strict=True)
    ]


def is_thinking(end: str, prompt: Any) -> bool:
    """Whether a prompt ends within reasoning, to be told from one that speaks of the tag.

    Args:
        end: of the prompt as the model read it.
        prompt: text, or chat turns.
    """
    if end.rstrip().endswith(OPENED):
        return True
    if not isinstance(prompt, str):
        last = prompt[-1] if len(prompt) else {}
        prompt = str(last.get("content", "")) if last.get("role") == "assistant" else ""
    before, found, after = prompt.rpartition(OPENED)
    speaker = before.rpartition("\n")[2].split()
    begins = not speaker or (len(speaker) == 1 and speaker[0].endswith(":"))
    return bool(found) and CLOSED not in after and (begins or not after.strip())
