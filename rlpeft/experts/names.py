"""Names of experts, by which those that work together are told apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rlpeft.errors import ExpertError
from rlpeft.experts.files import CARD_FILE, read_card


def require_own_names(folders: Iterable[Path]) -> None:
    """Look at cards alone, which is done before libraries are loaded.

    Raises:
        ExpertError: two experts are called the same.
    """
    known: dict[str, Path] = {}
    for folder in folders:
        name = read_card(folder).name
        if name in known:
            raise ExpertError(
                f"experts must have different names, two are called {name!r}: {str(known[name])!r} "
                f'and {str(folder)!r}. Leave one out, or give it another "name" in '
                f"{str(folder / CARD_FILE)!r}."
            )
        known[name] = folder
