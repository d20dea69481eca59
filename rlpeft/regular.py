"""Only regular files are read: to open a pipe that nobody writes to waits for ever."""

from __future__ import annotations

import errno
from pathlib import Path


def require_regular(path: Path) -> None:
    """Refuse a pipe, a socket and a device, before it is opened.

    Raises:
        OSError: it is one; ENXIO.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        said = "only regular files are read, this is a pipe, a socket or a device"
        raise OSError(errno.ENXIO, said, str(path))
