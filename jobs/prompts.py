"""Prompts to answer, from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlpeft.errors import DataError
from rlpeft.image_files import images_of
from rlpeft.tasks.jsonl import numbered_rows
from rlpeft.tasks.rows import as_prompt
from rlpeft.types import Problem


def read_prompts(path: Path) -> list[Problem]:
    """The `prompt` of each line of a JSONL file: a text, or a list of chat turns.

    A line's `image` is what the prompt shows: a path beside the file, or a list of some.

    Raises:
        DataError: no such file, no line, a line without a prompt, or an image that cannot be read;
            names the line.
    """
    if not path.is_file():
        raise DataError(f"--file must be a JSONL file, {str(path)!r} is none.")
    found = [
        _problem(row, str(index), path, f"{path}:{number}")
        for index, (number, row) in enumerate(numbered_rows(path))
    ]
    if not found:
        raise DataError(f"--file must hold one JSON object a line, {str(path)!r} is empty.")
    return found


def _problem(row: Mapping[str, Any], id: str, path: Path, where: str) -> Problem:
    if "prompt" not in row:
        raise DataError(f"{where} must be a JSON object with a 'prompt', it has {sorted(row)}.")
    try:
        shown = images_of(row["image"], path.parent) if row.get("image") is not None else ()
        return Problem(id, as_prompt(row["prompt"]), images=shown)
    except DataError as error:
        raise DataError(f"{where} {error}.") from error
