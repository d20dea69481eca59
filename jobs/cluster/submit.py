"""Training as a Ray job: submit it, ask after it, follow its log, stop it."""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from ray.dashboard.utils import ray_address_to_api_server_url
from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobSubmissionClient

from jobs.cluster.addresses import TOKEN_COMMANDS, speaks_http
from jobs.cluster.connect import first_line, is_listening
from jobs.cluster.travel import check_relative
from jobs.recipes import PACKAGED, find_recipe, read_recipe
from rlpeft.errors import ClusterError, ConfigError
from rlpeft.shadow import hiding

# Its client tells of every closed connection.
logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)

NO_AGENT, AGENT_PATIENCE_S = "No available agent", 30.0
"""What Ray says until the process that starts jobs is there, and how long it may take."""

HERE = ("127.0.0.1", "localhost", "::1")


def submit(
    recipe: str,
    overrides: Sequence[str] = (),
    *,
    address: str,
    out: Path | None = None,
    retries: int = 0,
    working_dir: Path | None = None,
) -> tuple[str, Path]:
    """Submit a training run.

    Args:
        recipe: a file or a packaged name; checked here, before anything is sent.
        address: the cluster's; see `dashboard_of`.
        out: run folder on the cluster's head.
        retries: how often a killed driver is started again; each continues where the last ended.
        working_dir: folder that travels with the job, for data and rewards the recipe names by
            relative path; the recipe must lie in it. The recipe alone travels if absent.

    Returns:
        The job's id and its run folder.

    Raises:
        ConfigError: the recipe is wrong, or there is no telling where to put the run.
        ClusterError: no cluster there, or it wants a token.
    """
    found = read_recipe(recipe, overrides)
    name = found.name
    check_relative(found, working_dir)
    if working_dir is not None and (line := hiding([str(working_dir), *sys.path])) is not None:
        raise ConfigError(line)  # there, it comes first
    address = dashboard_of(address)
    folder = _run_folder(out, name, address)
    with _travelling(find_recipe(recipe), working_dir) as (sent, argument):
        settings = [part for override in overrides for part in ("--set", override)]
        command = ["python", "-m", "jobs.cluster.retry", "--retries", str(retries), argument]
        with _plain_errors(address):
            job = _when_ready(
                JobSubmissionClient(address).submit_job,
                entrypoint=shlex.join([*command, *settings, "--out", str(folder)]),
                runtime_env={"working_dir": str(sent)} if sent else None,
                metadata={"recipe": name, "out": str(folder)},
            )
    return job, folder


def _when_ready(
    send: Callable[..., str], *, patience_s: float = AGENT_PATIENCE_S, **job: Any
) -> str:
    """Send a job; a cluster that has just been started has a dashboard before it takes jobs."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return send(**job)
        except RuntimeError as error:
            if NO_AGENT not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(1)


def status(job: str, *, address: str) -> dict[str, Any]:
    """What is known of a job: its state, recipe, run folder and the message of its end."""
    address = dashboard_of(address)
    with _plain_errors(address):
        details = JobSubmissionClient(address).get_job_info(job)
    return {
        "id": job,
        "status": str(details.status.value),
        "message": details.message,
        "exit_code": details.driver_exit_code,
        **(details.metadata or {}),
    }


def logs(job: str, *, address: str, follow: bool) -> Iterator[str]:
    """The job's log in pieces; with `follow` until the job ends."""
    address = dashboard_of(address)
    with _plain_errors(address):
        client = JobSubmissionClient(address)
        if not follow:
            yield client.get_job_logs(job)
            return
        client.get_job_info(job)  # following an unknown job would fail without saying so
        pieces = client.tail_job_logs(job)
        with asyncio.Runner() as loop:
            while (piece := loop.run(anext(pieces, None))) is not None:
                yield piece


def stop(job: str, *, address: str) -> bool:
    """Ask a job to end; whether it was running."""
    address = dashboard_of(address)
    with _plain_errors(address):
        return bool(JobSubmissionClient(address).stop_job(job))


def dashboard_of(address: str) -> str:
    """The URL of a cluster's dashboard, which takes jobs.

    Args:
        address: of the dashboard, `http://host:8265` or `host:8265`, or of the head, `host:6379`,
            which is asked for its dashboard.

    Raises:
        ConfigError: an address of another form.
        ClusterError: the head has no dashboard, or wants a token.
    """
    scheme, separator, rest = address.rpartition("://")
    if separator and scheme in ("http", "https"):
        return address.rstrip("/")
    if separator or not re.fullmatch(r"[^\s/]+:\d+", rest):
        raise ConfigError(
            "--address of a job must be the dashboard's http://HOST:8265 (or HOST:8265), or the "
            f"head's HOST:6379, got {address!r}."
        )
    url = f"http://{address}"
    if speaks_http(address) or not is_listening(address):
        return url  # what does not answer is told when it is asked
    try:
        return str(ray_address_to_api_server_url(address))
    except (ValueError, RuntimeError, RayError) as error:
        raise ClusterError(
            f"the head at {address!r} must have a dashboard, got: {first_line(error)}. Start it "
            f"by `ray start --head --include-dashboard true`; a token is given so: {TOKEN_COMMANDS}"
        ) from error


def _run_folder(out: Path | None, name: str, address: str) -> Path:
    # A relative folder would lie in Ray's copy of the job's working folder.
    if urlsplit(address).hostname in HERE:
        return (out or Path("runs") / name).expanduser().absolute()
    if out is not None and out.is_absolute():
        return out
    raise ConfigError(
        f"--out must name a folder on the head of the cluster at {address!r} by its absolute "
        "path, where the run is kept and continued: nothing on this machine is seen from there."
    )


@contextmanager
def _travelling(path: Path, working_dir: Path | None) -> Iterator[tuple[Path | None, str]]:
    """The folder to send, and the recipe as the job will name it."""
    if path.parent == PACKAGED:
        yield working_dir, path.stem
    elif working_dir is None:
        with tempfile.TemporaryDirectory(prefix="rlpeft-job-") as folder:
            shutil.copy(path, folder)
            yield Path(folder), path.name
    elif path.resolve().is_relative_to(working_dir.resolve()):
        yield working_dir, str(path.resolve().relative_to(working_dir.resolve()))
    else:
        raise ConfigError(
            f"the recipe must lie in the folder that travels with the job, {str(path)!r} is not "
            f"in {str(working_dir)!r}. Copy it there."
        )


@contextmanager
def _plain_errors(address: str) -> Iterator[None]:
    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(f"the cluster at {address!r} wants a token. {TOKEN_COMMANDS}") from error
    except (ConnectionError, requests.ConnectionError) as error:
        raise ClusterError(
            f"a Ray dashboard must answer at {address!r}, none does. Start the cluster with "
            "`ray start --head`, or correct --address."
        ) from error
    except RuntimeError as error:
        raise ClusterError(f"the cluster at {address!r} refused: {first_line(error)}") from error
