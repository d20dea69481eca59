"""Find the program in a completion."""

from __future__ import annotations

import ast
import bisect
import builtins
import re
import symtable
import textwrap
import warnings

from rewards.code.judge.checks import free_names
from rewards.completion.regions import answer_region

_FENCE = re.compile(r"^[ \t]{0,12}(```+|~~~+)[ \t]*([A-Za-z0-9_+.-]*)[^\n]*$", re.MULTILINE)
_CODE_LINE = re.compile(
    r"^[ \t]{0,40}(?:(?:def|class|import|from|return|if|for|while)\b|@\w|[A-Za-z_]\w{0,60}\s?=)",
    re.MULTILINE,
)
# A fence that closes on the last line of the code.
_INLINE_END = re.compile(r"(?<=[^\s`~])(?:```|~~~)[ \t]*$", re.MULTILINE)
_DEFINITION = re.compile(r"^[ \t]{0,40}(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)", re.MULTILINE)
# Where a program may begin, at the left edge.
_START = re.compile(r"(?:async[ \t]+def|def|class|import|from)[ \t]|@\w|[A-Za-z_]\w{0,60}[ \t]?=")
_MAX_PARSED = 1 << 20
"""Characters that are parsed at most in search of programs without fences."""
_NAME = re.compile(r"[^\W\d]\w*")
_MAX_HELPERS = 16
_PYTHON = frozenset({"", "python", "python3", "py"})


def extract_code(completion: str, wanted: frozenset[str] = frozenset()) -> str | None:
    """Return the block of Python that is the program, else the text if it is code.

    Closed blocks go before an open one. Of several, it is the last that defines what most of the
    others do not: a use of the program often follows it. Blocks before it that define what it
    uses and lacks are a part of it.

    Args:
        completion: the model's text.
        wanted: names that the tests use.

    Returns:
        `None` if there is only prose, or the completion is still thinking.
    """
    region = answer_region(completion)
    if region is None:
        return None
    blocks = _blocks(region)
    if not blocks and not _looks_like_code(region):
        return None
    blocks = blocks or _bare_blocks(region)
    program = max(reversed(blocks), key=lambda block: _num_defined(block, wanted))
    return _with_helpers(program, blocks[: blocks.index(program)])


def _bare_blocks(text: str) -> list[str]:
    """Return the runs of lines that are Python in a text without fences, or all of the text.

    Prose before and after a program, or between its parts, is no part of it.
    """
    budget = _MAX_PARSED
    if _error_line(textwrap.dedent(text)) == 0:
        return [text]
    lines, found, start = text.splitlines(keepends=True), [], 0
    while start < len(lines) and budget > 0:
        end = len(lines) if _START.match(lines[start]) else start
        while end > start and budget > 0:
            block = "".join(lines[start:end])
            budget -= len(block)
            if (wrong := _error_line(block)) == 0:
                found.append(block)
                break
            end = min(end - 1, start + wrong - 1)
        start = max(end, start + 1)
    return found or [text]


def _error_line(code: str) -> int:
    """Return the line, from 1, of the first error of syntax, 0 if there is none."""
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(code)
    except SyntaxError as error:
        return max(error.lineno or 1, 1)
    except (ValueError, RecursionError, MemoryError):
        return 1
    return 0


def _with_helpers(program: str, earlier: list[str]) -> str:
    """Put before `program` the blocks that define names it uses and does not define."""
    if not earlier:
        return program
    parts, missing = [program], _missing(program)
    for block in reversed(earlier[-_MAX_HELPERS:]):
        if missing and (defined := _defined(block)) & missing:
            parts.insert(0, block.rstrip("\n") + "\n")
            missing = (missing - defined) | _missing(block)
    return "".join(parts)


def _missing(code: str) -> set[str]:
    try:
        return {name for name in free_names(code)[0] if not hasattr(builtins, name)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # it does not run as it is; what is wrong with it is told later


def _defined(code: str) -> set[str]:
    try:
        top = symtable.symtable(code, "solution.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}


def names_in(tests: str) -> frozenset[str]:
    """Return the names in a text of tests."""
    return frozenset(_NAME.findall(tests))


def _num_defined(block: str, wanted: frozenset[str]) -> int:
    return len({found[1] for found in _DEFINITION.finditer(block)} & wanted)


def _blocks(text: str) -> list[str]:
    """Return the blocks of Python: the closed ones, or else the one left open."""
    fences = list(_FENCE.finditer(text))
    if len(fences) % 2 and not fences[0][2] and _looks_like_code(text[: fences[0].start()]):
        # The prompt opened the block: the completion begins inside it.
        return [text[: fences[0].start()]]
    ends = [end.start() for end in _INLINE_END.finditer(text)]

    def inline_end(begin: int) -> int:
        place = bisect.bisect_left(ends, begin)
        return ends[place] if place < len(ends) else len(text)

    found: list[str] = []
    opening: re.Match[str] | None = None
    for fence in fences:
        if opening is None:
            opening = fence
        elif fence[1][0] == opening[1][0] and not fence[2]:
            _add(found, opening, text[opening.end() + 1 : fence.start()])
            opening = None
        elif (end := inline_end(opening.end())) < fence.start():
            _add(found, opening, text[opening.end() + 1 : end])
            opening = fence
    if opening is None:
        return found
    end = inline_end(opening.end())
    if end < len(text) or not found:
        _add(found, opening, text[opening.end() + 1 : end])
    return found


def _add(found: list[str], opening: re.Match[str], block: str) -> None:
    if opening[2].lower() in _PYTHON:
        found.append(block)


def open_block(prompt: str) -> str | None:
    """Return what follows the last fence of `prompt` if that fence opens a block of Python."""
    fences = list(_FENCE.finditer(prompt))
    if len(fences) % 2 == 0 or fences[-1][2].lower() not in _PYTHON:
        return None
    return prompt[fences[-1].end() + 1 :]


def _looks_like_code(text: str) -> bool:
    return _CODE_LINE.search(text) is not None
