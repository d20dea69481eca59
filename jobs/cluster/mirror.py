"""The folder of a run or an evaluation, kept elsewhere too, wherever fsspec writes.

    URL/files/SHA256    what a file of the run holds
    URL/mirror.json     name, size and SHA-256 of every file, which takes its place last

So the mirror is the run as it was after one of its steps, however its driver ends. Like a run that
is fetched, nothing of it is believed when it is brought back.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from jobs.cluster.run_files import PART, RunFile, paths_of, refuse_hostile, write_file
from rlpeft.errors import ClusterError, ConfigError, FileError
from rlpeft.files import replacing_folder
from rlpeft.runs.fingerprint import FINGERPRINT_FILE, refuse_strangers
from rlpeft.terminal import note

MANIFEST, BLOBS = "mirror.json", "files"
MOST_BYTES = 64 * 2**20
"""Of the manifest: of as many files as a run has it holds less."""

Keep = Callable[[], None]
"""Sends what is new of a run."""

STEP = re.compile(r"checkpoints/step_([0-9]{8})/state\.json")
BATCH = re.compile(r"completions/batch_[0-9]{8}\.parquet")


class Mirror:
    """The mirror of one run.

    Args:
        url: a place that fsspec can write to, such as `s3://bucket/run` or `file:///shared/run`.
        folder: the run's, on this machine.
        name: of a folder within that place.

    Raises:
        ConfigError: no such kind of place is known, or its library is not installed.
    """

    def __init__(self, url: str, folder: Path, name: str = "") -> None:
        from fsspec.core import url_to_fs

        self.folder, self.called = folder, re.sub(r"//[^/@]*@", "//…@", url)
        if "://" not in url:
            raise ConfigError(f"--mirror must be a URL, such as s3://bucket/run, got {url!r}.")
        try:
            self.fs, root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"--mirror {self.called!r} cannot be written to: {error}.") from error
        self.root = f"{root.rstrip('/')}/{name}".rstrip("/")
        self._digests: dict[str, tuple[tuple[int, int], RunFile]] = {}  # by name, as files were
        self._there: set[str] | None = None  # blobs

    def bring_back(self) -> int:
        """Bring the run back where it is not here; how many files came.

        Raises:
            ConfigError: the mirror is another run's, or further than the run that is here.
            ClusterError: it is not a mirror, or a part of it is not what it was.
            CheckpointError: the folder is a stranger's.
        """
        refuse_strangers(self.folder)
        files = self._listed()
        here = self.folder / FINGERPRINT_FILE
        if not files:
            return 0
        if here.is_file():
            self._require_own(files, hashlib.sha256(here.read_bytes()).hexdigest())
            return 0
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(self.folder) as written:
            for file in files:
                write_file(written, file, partial(self._part, file))
        return len(files)

    def keep(self) -> None:
        """Make the mirror what the run is now."""
        if self._there is None:
            self._there = self._blobs()
        files = [self._kept(path) for path in paths_of(self.folder)]
        text = json.dumps([file._asdict() for file in files]).encode()
        partly = self._at(f"{MANIFEST}.partial")
        self.fs.pipe_file(partly, text)
        self.fs.mv(partly, self._at(MANIFEST))
        for old in self._there - {file.digest for file in files}:
            self.fs.rm_file(self._at(BLOBS, old))
            self._there.discard(old)

    def _kept(self, path: Path) -> RunFile:
        """A file of the run whose bytes are in the mirror."""
        name, stat = path.relative_to(self.folder).as_posix(), path.stat()
        state = stat.st_mtime_ns, stat.st_size
        if name in self._digests and self._digests[name][0] == state:
            return self._digests[name][1]
        content = path.read_bytes()  # of a file that grows, what is told of and what is sent
        file = RunFile(name, len(content), hashlib.sha256(content).hexdigest())
        assert self._there is not None
        if file.digest not in self._there:
            self.fs.pipe_file(self._at(BLOBS, file.digest), content)
            self._there.add(file.digest)
        self._digests[name] = state, file
        return file

    def _blobs(self) -> set[str]:
        """Those that are there from before; what else a kill has left is removed."""
        self.fs.makedirs(self._at(BLOBS), exist_ok=True)
        sizes = {file.digest: file.size for file in self._listed()}
        found = self.fs.ls(self._at(BLOBS), detail=True)
        there = {each["name"].rpartition("/")[2]: each["size"] for each in found}
        for name, size in there.items():
            if sizes.get(name) != size:
                self.fs.rm_file(self._at(BLOBS, name))
        return {name for name, size in there.items() if sizes.get(name) == size}

    def _listed(self) -> list[RunFile]:
        """The files of the mirror; none where there is none."""
        path = self._at(MANIFEST)
        if not self.fs.exists(path):
            return []
        text = self.fs.cat_file(path, 0, MOST_BYTES)
        try:
            files = [_read(each) for each in json.loads(text)]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ClusterError(
                f"{self.called!r} must be the mirror of a run, its {MANIFEST} is none: "
                f"{error!s:.80}. Name another place, or remove that file."
            ) from error
        refuse_hostile(files, self.called)
        return files

    def _require_own(self, files: list[RunFile], fingerprint: str) -> None:
        theirs = {file.digest for file in files if file.name == FINGERPRINT_FILE}
        if theirs != {fingerprint}:
            raise ConfigError(
                f"--mirror must be of the run in {str(self.folder)!r}, {self.called!r} is another "
                "run's. Name another place, or another --out."
            )
        here = [path.relative_to(self.folder).as_posix() for path in paths_of(self.folder)]
        done, kept = _far(here), _far(file.name for file in files)
        if kept > done:
            unit = "step" if kept[0] else "batch"
            raise ConfigError(
                f"what is in {str(self.folder)!r} is at {unit} {sum(done)}, its mirror "
                f"{self.called!r} at {sum(kept)}. Move that folder away, and it goes on from its "
                "mirror."
            )

    def _part(self, file: RunFile, offset: int) -> bytes:
        path = self._at(BLOBS, file.digest)
        return bytes(self.fs.cat_file(path, offset, min(offset + PART, file.size)))

    def _at(self, *names: str) -> str:
        return "/".join((self.root, *names))


def _far(names: Iterable[str]) -> tuple[int, int]:
    """The newest step of a run, or how many batches of an evaluation are answered."""
    every = list(names)
    steps = [int(found[1]) for name in every if (found := STEP.fullmatch(name))]
    return max(steps, default=0), sum(BATCH.fullmatch(name) is not None for name in every)


def _read(each: Any) -> RunFile:
    file = RunFile(str(each["name"]), each["size"], str(each["digest"]))
    if not isinstance(file.size, int) or not re.fullmatch(r"[0-9a-f]{64}", file.digest):
        raise ValueError(f"{file.name!r:.40} has no size and digest")
    return file


@contextmanager
def mirroring(url: str | None, folder: Path, name: str = "") -> Iterator[Keep]:
    """Bring a run back from its mirror, and keep it there: what is given is called after each step.

    Args: see `Mirror`; nothing is kept where no place is given.

    A step that the place does not take is told of, and the next one sends it too.

    Raises:
        ConfigError, ClusterError: see `Mirror`.
        FileError: the place did not take the run in the end.
    """
    if url is None:
        yield lambda: None
        return
    mirror = Mirror(url, folder, name)
    try:
        files = mirror.bring_back()
    except OSError as error:
        raise FileError(f"--mirror {mirror.called!r} cannot be read: {error}.") from error
    if files:
        note(f"{files} files of {str(folder)!r} were brought back from {mirror.called!r}.")

    def keep() -> None:
        try:
            mirror.keep()
        except Exception as error:
            # Recovery: whatever a store's library raises, the next step sends this one as well.
            note(f"{mirror.called!r} did not take a step, which is sent with the next: {error}.")

    yield keep
    try:
        mirror.keep()
    except Exception as error:
        raise FileError(
            f"{mirror.called!r} did not take the run, which is whole in {str(folder)!r}: {error}. "
            "The same command sends it again."
        ) from error
