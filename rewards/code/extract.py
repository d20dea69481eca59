"""Find the program in a completion."""

from __future__ import annotations

import re

from rewards.regions import answer_region

_FENCE = re.compile(r"^[ \t]{0,12}(```+|~~~+)[ \t]*([A-Za-z0-9_+.-]*)[^\n]*$", re.MULTILINE)
_CODE_LINE = re.compile(
    r"^[ \t]{0,40}(?:(?:def|class|import|from|return|if|for|while)\b|@\w|[A-Za-z_]\w{0,60}\s?=)",
    re.MULTILINE,
)
_PYTHON = frozenset({"", "python", "python3", "py"})


def extract_code(completion: str) -> str | None:
    """Return the last closed block of Python, else of an open one, else the text if it is code.

    `None` if there is only prose, or the completion is still thinking.
    """
    region = answer_region(completion)
    if region is None:
        return None
    blocks = _blocks(region)
    if blocks:
        return blocks[-1]
    return region if _looks_like_code(region) else None


def _blocks(text: str) -> list[str]:
    """Return the blocks of Python: the closed ones, or else the one left open."""
    fences = list(_FENCE.finditer(text))
    if len(fences) % 2 and not fences[0][2] and _looks_like_code(text[: fences[0].start()]):
        # The prompt opened the block: the completion begins inside it.
        return [text[: fences[0].start()]]
    found: list[str] = []
    opening: re.Match[str] | None = None
    for fence in fences:
        if opening is None:
            opening = fence
        elif fence[1][0] == opening[1][0] and not fence[2]:
            if opening[2].lower() in _PYTHON:
                found.append(text[opening.end() + 1 : fence.start()])
            opening = None
    if opening is not None and not found and opening[2].lower() in _PYTHON:
        found.append(text[opening.end() + 1 :])
    return found


def open_block(prompt: str) -> str | None:
    """Return what follows the last fence of `prompt` if that fence opens a block of Python."""
    fences = list(_FENCE.finditer(prompt))
    if len(fences) % 2 == 0 or fences[-1][2].lower() not in _PYTHON:
        return None
    return prompt[fences[-1].end() + 1 :]


def _looks_like_code(text: str) -> bool:
    return _CODE_LINE.search(text) is not None
