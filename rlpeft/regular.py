"""Only regular files are read: to open a pipe that nobody writes to waits for ever.

And only file systems are written to: to a path, a URL is a folder like any other.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

from rlpeft.errors import ConfigError


def require_regular(path: Path) -> None:
    """Refuse a pipe, a socket and a device, before it is opened.

    Raises:
        OSError: it is one; ENXIO.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        said = "only regular files are read, this is a pipe, a socket or a device"
        raise OSError(errno.ENXIO, said, str(path))


def refuse_url(path: Path) -> None:
    """Refuse a place in an object store, which has no renames.

    Raises:
        ConfigError: that is a URL.
    """
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):  # `//` is one in a path
        typed = str(path).replace(":/", "://", 1)
        raise ConfigError(
            "what is written must lie on a file system, where it takes its place whole, got the "
            f"URL {typed!r}. Name a folder and copy it at the end, or have train, sft and adapt "
            "keep it there: --mirror URL; from a cluster: rlpeft fetch"
        )
