"""What was probably meant: names near to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

NEAR = 0.6
"""How like a name must be to be proposed, of 1: two letters of five may be others."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to add to an error, with a blank before it; empty where nothing is near.

    >>> did_you_mean("quikstart", ["quickstart", "tiny-mix"])
    " Did you mean 'quickstart'?"
    """
    by_case = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), by_case, n=1, cutoff=NEAR)
    return f" Did you mean {by_case[near[0]]!r}?" if near else ""


def path_meant(path: Path, *endings: str) -> str:
    """The same of a path: a file beside it whose name is near, and not its folder or ending alone.

    Args:
        endings: as `paths_beside` takes them.
    """
    files = [Path(each) for each in paths_beside(path, *endings)]
    near = get_close_matches(_stem(path), {_stem(file) for file in files}, n=1, cutoff=NEAR)
    meant = [str(file) for file in files if _stem(file) in near]
    best = get_close_matches(str(path), meant, n=1, cutoff=0.0)
    return f" Did you mean {best[0]!r}?" if best else ""


def _stem(path: Path) -> str:
    return path.name.casefold().partition(".")[0]


def paths_beside(path: Path, *endings: str) -> list[str]:
    """What lies where `path` was looked for: all, or the files of some endings, such as `.toml`."""
    folder = path.parent if path.parent.is_dir() else Path()
    try:
        found = list(folder.iterdir())
    except OSError:  # a folder that may not be read has nothing to suggest
        return []
    return sorted(str(file) for file in found if not endings or file.name.endswith(endings))
