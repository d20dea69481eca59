"""What was submitted to a cluster: how it stands, its log, its end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ray.job_submission import JobDetails

from jobs.cluster.dashboard import asking
from rlpeft.errors import ClusterError, ConfigError

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
"""States, in Ray's words, that no job leaves."""

KEPT = ("command", "recipe", "out")
"""What `jobs.cluster.submit` leaves beside a job; any job can write more, and other things."""

ID = re.compile(r"(?!\.{1,2}$)[^\s/?#%\\]+")
"""An id stands in a URL as it is."""

LATEST_MS = 253_402_214_400_000
"""The last day that a calendar has, of the year 9999; a job may have begun later, as it says."""

SECRET = 6
"""Characters of a variable's value from which on it is kept off the screen; shorter ones are
numbers and switches, which other words hold by chance."""


def list_jobs(address: str) -> list[dict[str, Any]]:
    """What is known of every job that was submitted, the youngest last; see `status`."""
    with asking(address) as client:
        found = [details for details in client.list_jobs() if details.submission_id]
    return [_known(each) for each in sorted(found, key=lambda details: details.start_time or 0)]


def status(job: str, *, address: str) -> dict[str, Any]:
    """What is known of a job.

    Returns:
        Its id, state, entrypoint, exit code, message of its end, times in seconds since the epoch
        and the node of its driver; of a job of ours also its command, recipe and run folder.

    Raises:
        ConfigError: that is no id.
        ClusterError: the cluster does not know it.
    """
    return _known(_details(job, address))


def _details(job: str, address: str) -> JobDetails:
    if not ID.fullmatch(job):
        raise ConfigError(
            "the id of a job must be what `rlpeft submit` gave back, such as "
            f"raysubmit_8Xs3kq2Lw9PzT4ab, got {job!r:.80}. List them: rlpeft jobs list"
        )
    with asking(address) as client:
        try:
            return client.get_job_info(job)
        except RuntimeError as error:
            if "does not exist" not in str(error):
                raise
            raise ClusterError(
                f"a job must be one that the cluster at {address!r} knows, {job!r} is not: it was "
                "sent to another, or to an earlier one. List them: rlpeft jobs list"
            ) from error


def _known(details: JobDetails) -> dict[str, Any]:
    said = details.metadata or {}
    return {
        "id": details.submission_id,
        "status": str(details.status.value),
        "entrypoint": details.entrypoint,
        "message": _without_secrets(details.message or "", details.runtime_env or {}),
        "exit_code": details.driver_exit_code,
        "began": _seconds(details.start_time),
        "ended": _seconds(details.end_time),
        "node": details.driver_node_id,
        **{key: said[key] for key in KEPT if isinstance(said.get(key), str)},
    }


def _without_secrets(text: str, runtime_env: Mapping[str, Any]) -> str:
    """A text of Ray's without the values of variables, which it gives to Python's clients."""
    values = {str(value) for value in (runtime_env.get("env_vars") or {}).values()}
    for value in sorted((value for value in values if len(value) >= SECRET), key=len, reverse=True):
        text = text.replace(value, "***")
    return text


def _seconds(milliseconds: int | None) -> float | None:
    """A time since the epoch; none where no calendar has it."""
    if milliseconds is None or not 0 < milliseconds <= LATEST_MS:
        return None
    return milliseconds / 1000


def logs(job: str, *, address: str, follow: bool) -> Iterator[str]:
    """The job's log in pieces; with `follow` until the job ends."""
    _details(job, address)  # following an unknown job would fail without saying so
    with asking(address) as client:
        if not follow:
            yield client.get_job_logs(job)
            return
        pieces = client.tail_job_logs(job)
        with asyncio.Runner() as loop:
            while (piece := loop.run(anext(pieces, None))) is not None:
                yield piece


def stop(job: str, *, address: str) -> bool:
    """Ask a job to end; whether it was running."""
    _details(job, address)
    with asking(address) as client:
        return bool(client.stop_job(job))
