"""Whether a file or folder of the user's hides one of our packages.

`rewards` and `jobs` lie at the top level, and their names are natural ones for files of one's own.
Python takes whichever it finds first, which for programs run by `python -m`, for the processes
they start and for Ray jobs is the working folder's: ours would then fail in the middle of an
import, or a worker would run another module than its driver.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = ("rewards", "jobs")
ROOT = Path(__file__).resolve().parents[1]


def hiding(path: Sequence[str]) -> str | None:
    """What on a search path hides a package of ours and how to mend it, in one line.

    Args:
        path: folders in the order they are searched, as in `sys.path`.
    """
    for name in PACKAGES:
        spec = PathFinder.find_spec(name, [folder or os.getcwd() for folder in path])
        if spec is None:  # an editable install has a finder of its own, which is asked later
            continue
        found = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        place = Path(found[0])
        place = place.parent if place.name == "__init__.py" else place
        # Beside an `rlpeft` it is ours, perhaps of another checkout.
        if not (place.parent / "rlpeft" / "__init__.py").is_file():
            return (
                f"no module of yours may have the name of our package {name!r}, {str(place)!r} "
                f"hides it. Rename it, such as to 'my_{place.name}', and what names it (in a "
                f"recipe: reward.name = 'my_{place.stem}:…'); or run in another folder."
            )
    return None


def exit_if_hidden() -> None:
    """End a program of ours with the line on what hides a package of ours, if anything does."""
    if (line := hiding(sys.path)) is not None:
        sys.exit(f"error: {line}")


def look_for_hidden() -> None:
    """End a program of ours, warn any other: whoever takes the adapters alone need not rename."""
    if is_our_program((sys.argv or [""])[0]):
        exit_if_hidden()
    elif (line := hiding(sys.path)) is not None:
        warnings.warn(line, stacklevel=3)


def is_our_program(program: str) -> bool:
    """Whether this is the name, as in `sys.argv`, of a command of ours."""
    path = Path(program)
    # While `python -m` looks for a module, it leaves its own name here.
    is_looked_for = program == "-m" and "jobs" in sys.modules
    return is_looked_for or path.name == "rlpeft" or path.parent == ROOT / "jobs"
