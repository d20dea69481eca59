"""An expert's folder that a stranger names, below roots that were allowed: copied as it is.

Whatever else happens to the files meanwhile, one state of them is read: the copy. Below a root no
link is followed, at no moment, so that no name leads out of it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from rlpeft.errors import ExpertError
from rlpeft.experts.files import EXPERT_FOLDER, Expert
from rlpeft.experts.hub import LARGEST

LONGEST_PATH = 4096

PLAIN = re.compile(r"[A-Za-z0-9_.]{1,200}")
"""Names of modules, of which no part is an expression that is slow to match."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# A pipe that nobody writes to would be waited for.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def copy_below(roots: Sequence[Path], path: str, into: Path) -> None:
    """Copy the three files of the expert at `path`, which is absolute, or below any of the roots.

    Args:
        into: an empty folder.

    Raises:
        ExpertError: the path does not lead below a root, there is no expert, a link is in the way,
            or a file is too large.
    """
    parts = Path(path).parts if path.isprintable() and len(path) <= LONGEST_PATH else ("..",)
    if not parts or ".." in parts:
        raise ExpertError(
            "an expert must be named by its folder below one that --load-from names, got "
            f"{path!r:.99}."
        )
    for root in roots:
        if (folder := _open(root, Path(path))) is not None:
            try:
                for name, most in LARGEST.items():
                    _copy(folder, name, most, into, path)
            finally:
                os.close(folder)
            return
    raise ExpertError(
        f"there must be an expert at {path!r} below a folder that --load-from names, there is "
        "none; links are not followed."
    )


def refuse_costly(name: str, expert: Expert) -> None:
    """Refuse a PEFT config that could keep who reads it busy for ever, or fill its memory.

    Raises:
        ExpertError: it says by an expression where it acts, or a rank that its tensors have not, or
            says either in another form than PEFT does.
    """
    config = expert.config
    patterns = {key: config.get(key) or {} for key in ("rank_pattern", "alpha_pattern")}
    for key, pattern in patterns.items():
        if not isinstance(pattern, dict):
            raise ExpertError(
                f"{key} of expert {name!r} must map modules to numbers, got {pattern!r:.40}. "
                "Restore its adapter_config.json."
            )
    said = [
        config.get(key) or () for key in ("target_modules", "exclude_modules", "layers_pattern")
    ]
    listed = [names for names in said if isinstance(names, list | tuple | set)]
    words = [*chain(*patterns.values(), *listed)]
    if listed != said or not all(isinstance(w, str) and PLAIN.fullmatch(w) for w in words):
        raise ExpertError(
            f"expert {name!r} must list the modules it acts in by their names to be loaded into a "
            "running server, its config has an expression. Serve it by --experts."
        )
    widest = max((size for tensor in expert.tensors.values() for size in tensor.shape), default=0)
    for rank in (config.get("r") or 0, *patterns["rank_pattern"].values()):
        if not isinstance(rank, int) or rank > widest:
            raise ExpertError(
                f"expert {name!r} must have the rank that its config says, {rank!r:.40}: no side "
                f"of its tensors is longer than {widest}. Restore it, or train it again."
            )


def _open(root: Path, path: Path) -> int | None:
    """A descriptor of the folder, `None` where it is not below this root."""
    root = root.absolute()
    if path.is_absolute() and not path.is_relative_to(root):
        return None
    try:  # who started the server may name a link
        found = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # gone meanwhile; another root may have it
        return None
    for part in (path.relative_to(root) if path.is_absolute() else path).parts:
        above = found
        try:
            found = os.open(part, _FOLDER, dir_fd=above)
        except OSError:  # absent, a file, a link
            return None
        finally:
            os.close(above)
    return found


def _copy(folder: int, name: str, most: int, into: Path, path: str) -> None:
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        raise ExpertError(
            f"the expert at {path!r} must have a file {name} that is no link, got: "
            f"{error.strerror}.{_inside(folder, path)}"
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)  # `fdopen` of a folder fails and leaves it open
        raise ExpertError(f"{name} of the expert at {path!r} must be a regular file.")
    with os.fdopen(descriptor, "rb") as source, (into / name).open("wb") as copy:
        left = most
        while part := source.read(min(left + 1, 1 << 20)):  # it may grow while it is read
            if (left := left - len(part)) < 0:
                raise ExpertError(
                    f"{name} of the expert at {path!r} must have at most {most} bytes."
                )
            copy.write(part)


def _inside(folder: int, path: str) -> str:
    """A question to add to an error: the expert in a run's folder was meant."""
    try:
        os.close(os.open(EXPERT_FOLDER, _FOLDER, dir_fd=folder))
    except OSError:  # absent, a file, a link
        return ""
    return f" Did you mean {str(Path(path, EXPERT_FOLDER))!r}?"
