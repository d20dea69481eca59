"""Prompts to answer, from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlpeft.errors import DataError
from rlpeft.tasks.jsonl import numbered_rows
from rlpeft.tasks.rows import as_prompt
from rlpeft.types import Prompt


def read_prompts(path: Path) -> list[Prompt]:
    """The `prompt` of each line of a JSONL file: a text, or a list of chat turns.

    Raises:
        DataError: no such file, no line, or a line without a prompt; names the line.
    """
    if not path.is_file():
        raise DataError(f"--file must be a JSONL file, {str(path)!r} is none.")
    found = [_prompt(row, f"{path}:{number}") for number, row in numbered_rows(path)]
    if not found:
        raise DataError(f"--file must hold one JSON object a line, {str(path)!r} is empty.")
    return found


def _prompt(row: Mapping[str, Any], where: str) -> Prompt:
    if "prompt" not in row:
        raise DataError(f"{where} must be a JSON object with a 'prompt', it has {sorted(row)}.")
    try:
        return as_prompt(row["prompt"])
    except DataError as error:
        raise DataError(f"{where} {error}.") from error
