"""Commands as Ray jobs: what one names here, what travels with it, and how it is begun there."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from jobs.cluster.dashboard import asking, dashboard_of
from jobs.cluster.package import files_to_send, pack
from jobs.cluster.travel import check_relative
from rlpeft.errors import ConfigError
from rlpeft.files import check_place
from rlpeft.shadow import hiding
from rlpeft.terminal import note

NO_AGENT, AGENT_PATIENCE_S = "No available agent", 30.0
"""What Ray says until the process that starts jobs is there, and how long it may take."""

HERE = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Work:
    """A command that a job shall run, and what of this machine it names.

    Attributes:
        words: the command and its words, as they are typed here, without its run folder.
        name: of its run; absent if it keeps none unless it is told where.
        recipes: the recipes among its words that are files, as they are typed.
        named: what it names by relative paths, as `jobs.cluster.travel` finds it.
        gpus: that its own process computes on; what learns or answers in actors asks for theirs.
    """

    words: tuple[str, ...]
    name: str | None
    recipes: tuple[str, ...] = ()
    named: tuple[tuple[str, str], ...] = ()
    gpus: float = 0


def submit(
    work: Work,
    *,
    address: str,
    out: Path | None = None,
    retries: int = 0,
    working_dir: Path | None = None,
    environment: Mapping[str, Any] | None = None,
) -> tuple[str, Path | None]:
    """Submit a command.

    Args:
        address: the cluster's; see `jobs.cluster.dashboard.dashboard_of`.
        out: run folder, on the machine of the cluster that runs the command.
        retries: how often a killed command is started again; each continues where the last ended.
        working_dir: folder that travels with the job, for all that is named by relative path;
            recipes must lie in it. They alone travel if absent.
        environment: packages and variables; see `jobs.cluster.environment.environment_of`.

    Returns:
        The job's id and its run folder, if it keeps one.

    Raises:
        ConfigError: what it names stays here, or there is no telling where to put the run.
        ClusterError: no cluster there, or it wants a token.
    """
    check_relative(work.named, working_dir)
    if working_dir is not None and (line := hiding([str(working_dir), *sys.path])) is not None:
        raise ConfigError(line)  # there, it comes first
    address = dashboard_of(address)
    folder = _run_folder(out, work.name, address)
    names = _names_there(work.recipes, working_dir)
    words = [names.get(word, word) for word in work.words]
    command = ["python", "-m", "jobs.cluster.retry", "--retries", str(retries), *words]
    kept = {} if folder is None else {"out": str(folder)}
    with _packed(work, names, working_dir) as sent, asking(address) as client:
        job = _when_ready(
            client.submit_job,
            entrypoint=shlex.join([*command, *(["--out", str(folder)] if folder else [])]),
            runtime_env={**(environment or {}), **sent},
            metadata={"command": shlex.join(words), "recipe": work.name or "", **kept},
            entrypoint_num_gpus=work.gpus or None,
        )
    return job, folder


def _when_ready(
    send: Callable[..., str], *, patience_s: float = AGENT_PATIENCE_S, **job: Any
) -> str:
    """Send a job; a cluster that has just been started has a dashboard before it takes jobs."""
    deadline, told = time.monotonic() + patience_s, False
    while True:
        try:
            return send(**job)
        except RuntimeError as error:
            if NO_AGENT not in str(error) or time.monotonic() > deadline:
                raise
        if not told:
            note(f"the cluster takes no jobs yet: asking it for up to {patience_s:.0f} s")
        told = True
        time.sleep(1)


def is_here(address: str) -> bool:
    """Whether a cluster is one of this machine, whose folders it then has.

    >>> is_here("http://127.0.0.1:8265"), is_here("localhost:8265"), is_here("head:8265")
    (True, True, False)
    """
    return urlsplit(address if "://" in address else f"//{address}").hostname in HERE


def _run_folder(out: Path | None, name: str | None, address: str) -> Path | None:
    # A relative folder would lie in Ray's copy of the job's working folder.
    if out is None and name is None:
        return None
    if is_here(address):
        folder = (out or Path("runs") / str(name)).expanduser().absolute()
        check_place(folder, folder=True)
        return folder
    if out is not None and out.is_absolute():
        return out
    raise ConfigError(
        f"--out must name a folder on the cluster at {address!r} by its absolute path, where the "
        "run is kept and continued: nothing on this machine is seen from there."
    )


def _names_there(recipes: tuple[str, ...], working_dir: Path | None) -> dict[str, str]:
    """Recipes by what they are called here -> there, from the job's working folder.

    Raises:
        ConfigError: one lies elsewhere, or two would be one.
    """
    if working_dir is None:
        names = {recipe: Path(recipe).name for recipe in recipes}
        if len({*names.values()}) < len(names):
            raise ConfigError(
                f"recipes must have names of their own in a job, got {', '.join(recipes)}. Send "
                "their folder along: --working-dir ."
            )
        return names
    root, names = working_dir.resolve(), {}
    for recipe in recipes:
        path = Path(recipe).resolve()
        if not path.is_relative_to(root):
            raise ConfigError(
                f"the recipe must lie in the folder that travels with the job, {recipe!r} is not "
                f"in {str(working_dir)!r}. Copy it there."
            )
        names[recipe] = str(path.relative_to(root))
    return names


@contextmanager
def _packed(
    work: Work, names: Mapping[str, str], working_dir: Path | None
) -> Iterator[dict[str, str]]:
    """The working folder as Ray takes it, if anything travels."""
    files = {name: Path(recipe) for recipe, name in names.items()}
    if working_dir is not None:
        files |= files_to_send(working_dir, [path for _, path in work.named])
    if not files:
        yield {}
        return
    with TemporaryDirectory(prefix="rlpeft-job-") as folder:
        archive = Path(folder) / "working_dir.zip"
        pack(files, archive)
        yield {"working_dir": str(archive)}
