"""What was probably meant: names near to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to add to an error, with a blank before it; empty where nothing is near.

    >>> did_you_mean("quikstart", ["quickstart", "tiny-mix"])
    " Did you mean 'quickstart'?"
    """
    by_case = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), by_case, n=1, cutoff=0.6)
    return f" Did you mean {by_case[near[0]]!r}?" if near else ""


def paths_beside(path: Path, *endings: str) -> list[str]:
    """What lies where `path` was looked for: all, or the files of some endings, such as `.toml`."""
    folder = path.parent if path.parent.is_dir() else Path()
    try:
        found = list(folder.iterdir())
    except OSError:  # a folder that may not be read has nothing to suggest
        return []
    return sorted(str(file) for file in found if not endings or file.name.endswith(endings))
