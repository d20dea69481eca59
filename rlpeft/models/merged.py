"""Where bases with experts merged into them are kept (`rlpeft.experts.merged` makes them).

Each is as large as its base, and is made again whenever it is needed and not there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlpeft.files import make_folder, plain_errors
from rlpeft.models.folder import models_home


def merged_home() -> Path:
    """The user's folder for merged bases."""
    return models_home().parent / "merged"


def merged_sizes() -> dict[Path, int]:
    """The folder of each that is kept, those included that were cut off, and its bytes here.

    A link that was put in a folder's place is one of them, and takes nothing here.
    """
    folders = sorted(merged_home().glob("*")) if merged_home().is_dir() else []
    return {
        folder: 0 if folder.is_symlink() else _bytes_below(folder)
        for folder in folders
        if folder.is_symlink() or folder.is_dir()
    }


def _bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def clear_merged() -> dict[Path, int]:
    """Remove them all, once none is being made; gives what they were. Links are not followed."""
    if not merged_home().is_dir():
        return {}
    with alone(), plain_errors(merged_home()):
        found = merged_sizes()
        for folder in found:
            if folder.is_symlink():
                folder.unlink()
            else:
                shutil.rmtree(folder)
    return found


@contextmanager
def alone() -> Iterator[None]:
    """Only one process of this machine makes or removes them at a time."""
    home = merged_home()
    make_folder(home)
    descriptor = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
