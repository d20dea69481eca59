"""What of this machine travels with a job: the files of a folder that git would keep.

They go through the memory of the cluster's head, so there is a limit, which is looked at before
anything is read. What a recipe names by relative path travels even where it is ignored: runs and
data often are.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import _get_excludes, get_excludes_from_ignore_files

from rlpeft.errors import ConfigError
from rlpeft.files import describe
from rlpeft.terminal import note

MOST_BYTES, MOST_FILES = 250 * 2**20, 20_000
"""That travel. Ray itself refuses 512 MiB, after they have been packed."""

SHOWN = 3
"""Largest files that an error names."""

SILENT = logging.getLogger(__name__)
SILENT.setLevel(logging.WARNING)


def files_to_send(folder: Path, named: Iterable[str] = ()) -> dict[str, Path]:
    """Files of a folder, by their paths in it: what git does not ignore, and what is named.

    Args:
        named: files and folders, relative to `folder`, that travel in any case.

    Raises:
        ConfigError: no folder, git refuses it, or there is more than may travel.
    """
    if not folder.is_dir():
        raise ConfigError(f"--working-dir must be a folder, got {str(folder)!r}.")
    found: dict[str, Path] = {}
    for path in _all(folder, named):
        found[str(path.relative_to(folder))] = path
        if len(found) > MOST_FILES:
            raise ConfigError(
                f"--working-dir must hold at most {MOST_FILES:,} files that git does not ignore, "
                f"{str(folder)!r} has more. Name a smaller folder, or add some to .gitignore."
            )
    _check_size(folder, {name: path.stat().st_size for name, path in found.items()})
    return dict(sorted(found.items()))


def _all(folder: Path, named: Iterable[str]) -> Iterator[Path]:
    kept = _by_git(folder)
    yield from _by_patterns(folder) if kept is None else kept
    for path in (folder / os.path.normpath(name) for name in named):
        below = path.rglob("*") if path.is_dir() else [path]
        yield from (each for each in below if each.is_file())


def _by_git(folder: Path) -> list[Path] | None:
    """What git tracks, or would; `None` where there is no git, or no repository of its."""
    if shutil.which("git") is None:
        return None
    # No program that a repository's own configuration names is run for a list of files.
    asked = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), "ls-files", "-z"]
    done = subprocess.run(
        [*asked, "--cached", "--others", "--exclude-standard"], capture_output=True
    )
    if done.returncode == 0:
        names = {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}
        return [path for name in sorted(names) if _is_sent(path := folder / name)]
    if not any(
        (parent / ".git").exists() for parent in [folder.resolve(), *folder.resolve().parents]
    ):
        return None
    said = (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[0]
    raise ConfigError(
        f"git must tell which files of {str(folder)!r} travel with the job, it said: {said}"
    )


def _by_patterns(folder: Path) -> Iterator[Path]:
    """What `.gitignore` and `.rayignore` leave, as Ray reads them."""
    yield from _below(folder, [_get_excludes(folder, get_runtime_env_default_excludes())])


def _below(folder: Path, excludes: Sequence[Callable[[Path], bool]]) -> Iterator[Path]:
    own = get_excludes_from_ignore_files(folder, include_gitignore=True, logger=SILENT)
    ignores = [*excludes, *(each for each in own if each is not None)]
    for path in sorted(folder.iterdir()):
        if any(ignored(path) for ignored in ignores):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _below(path, ignores)
        elif _is_sent(path):
            yield path


def _is_sent(path: Path) -> bool:
    """Whether this is a file, and not one that was deleted; a folder here stays, which is told."""
    if path.is_dir():
        note(f"{str(path)!r} stays here: a folder of another repository, or a link to a folder.")
    return path.is_file()


def _check_size(folder: Path, sizes: Mapping[str, int]) -> None:
    if (total := sum(sizes.values())) <= MOST_BYTES:
        return
    largest = sorted(sizes.items(), key=lambda item: item[1], reverse=True)[:SHOWN]
    said = ", ".join(f"{name} ({size / 2**20:,.0f} MiB)" for name, size in largest)
    raise ConfigError(
        f"--working-dir must hold at most {MOST_BYTES / 2**20:.0f} MiB that git does not ignore or "
        f"the recipe names, {str(folder)!r} has {total / 2**20:,.0f}; the largest: {said}. Add "
        "them to .gitignore, or name them by absolute paths that the cluster's machines have."
    )


def pack(files: Mapping[str, Path], archive: Path) -> None:
    """Write a ZIP that is the same for the same files: Ray keeps what it has already.

    Args:
        files: by their paths in the archive.

    Raises:
        ConfigError: one cannot be read.
    """
    with ZipFile(archive, "w", ZIP_DEFLATED) as packed:
        for name, path in files.items():
            info = ZipInfo(name)  # of 1980, whenever it was changed
            info.external_attr = (path.stat().st_mode & 0o777) << 16
            try:
                packed.writestr(info, path.read_bytes(), ZIP_DEFLATED)
            except OSError as error:
                raise ConfigError(describe(error, path) or str(error)) from error
